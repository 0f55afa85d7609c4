// The chat page at `/`: one HTML text in the program (src/server/page/, joined by cmake/embed_page.cmake), with a policy under which a
// browser runs its one script and nothing else. Constant.
#pragma once
#include <string>
#include <string_view>

#include "server/http_message.h"

namespace quern {

std::string_view chat_page_text();  // generated

// The text and its headers. `page` must hold one <style> and one <script> element.
HttpReply chat_page_reply(std::string_view page);

}  // namespace quern
