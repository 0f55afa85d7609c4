// Every chat format: a new one is a file in this folder and two lines here. docs/text.md says how.
#pragma once
#include <vector>

#include "text/chat_format.h"

namespace quern {

ChatFormat chatml_plain();
ChatFormat chatml_qwen1();
ChatFormat chatml_qwen15();
ChatFormat chatml_qwen15_base();
ChatFormat chatml_qwen2();
ChatFormat chatml_smollm2();
ChatFormat chatml_qwen25();
ChatFormat chatml_qwen25_base();
ChatFormat chatml_qwen25_math();
ChatFormat chatml_qwen25_first();
ChatFormat chatml_qwen25_base_first();
ChatFormat chatml_qwen25_math_first();
ChatFormat chatml_qwq_preview();
ChatFormat chatml_qwq();
ChatFormat chatml_qwq_prefill();
ChatFormat chatml_qwen3();
ChatFormat chatml_qwen3_first();
ChatFormat chatml_qwen3_instruct();
ChatFormat chatml_qwen3_thinking();
ChatFormat chatml_qwen3_coder();
ChatFormat chatml_qwen3_coder_tools();
ChatFormat zephyr();
ChatFormat llama2();

inline std::vector<ChatFormat> all_chat_formats() {
  return {chatml_plain(),
          chatml_qwen1(),
          chatml_qwen15(),
          chatml_qwen15_base(),
          chatml_qwen2(),
          chatml_smollm2(),
          chatml_qwen25(),
          chatml_qwen25_base(),
          chatml_qwen25_math(),
          chatml_qwen25_first(),
          chatml_qwen25_base_first(),
          chatml_qwen25_math_first(),
          chatml_qwq_preview(),
          chatml_qwq(),
          chatml_qwq_prefill(),
          chatml_qwen3(),
          chatml_qwen3_first(),
          chatml_qwen3_instruct(),
          chatml_qwen3_thinking(),
          chatml_qwen3_coder(),
          chatml_qwen3_coder_tools(),
          zephyr(),
          llama2()};
}

}  // namespace quern
