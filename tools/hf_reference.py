#!/usr/bin/env python3
"""Greedy answers and teacher-forced top-2 log-probabilities of a GGUF model in float32, by Hugging Face transformers.

    hf_reference.py MODEL.gguf PROMPTS.jsonl OUT.jsonl [--count 40] [--tokens 64] [--max-prompt 256] [--threads 1]

transformers dequantises the GGUF itself (gguf_file=), so this is the function that an f32 engine of the same file computes.
A line of OUT: {"id", "prompt_ids", "output_ids", "top2": [[id, logprob, id, logprob], ...]} with one top2 entry an output token, the
distribution that the token was drawn from. Answers end after an end token. Lines that OUT already has are kept (resumable).
Prompts are spread over the whole file, in its order: those with at most --max-prompt tokens in the model's chat format.
"""
import argparse
import json
import os
import time


def chosen_prompts(tokenizer, path, count, max_prompt):
    fitting = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            text = tokenizer.apply_chat_template(record["messages"], tokenize=False, add_generation_prompt=True)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            if len(ids) <= max_prompt:
                fitting.append((record["id"], ids))
    return [fitting[i * len(fitting) // count] for i in range(count)]


def answer(model, prompt_ids, end_ids, num_tokens):
    import torch

    past, step = None, torch.tensor([prompt_ids])
    output_ids, top2 = [], []
    while len(output_ids) < num_tokens:
        out = model(input_ids=step, past_key_values=past, use_cache=True, logits_to_keep=1)
        past = out.past_key_values
        best = torch.topk(torch.log_softmax(out.logits[0, -1].double(), dim=-1), 2)
        ids, logprobs = best.indices.tolist(), best.values.tolist()
        output_ids.append(ids[0])
        top2.append([ids[0], round(logprobs[0], 6), ids[1], round(logprobs[1], 6)])
        if ids[0] in end_ids:
            break
        step = torch.tensor([[ids[0]]])
    return output_ids, top2


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("prompts")
    parser.add_argument("out")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--max-prompt", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    folder, name = os.path.split(os.path.abspath(options.model))
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    prompts = chosen_prompts(tokenizer, options.prompts, options.count, options.max_prompt)
    done = set()
    if os.path.exists(options.out):
        with open(options.out, encoding="utf-8") as lines:
            done = {json.loads(line)["id"] for line in lines}
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    end_ids = {tokenizer.eos_token_id} | set(tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"]))
    for prompt_id, prompt_ids in prompts:
        if prompt_id in done:
            continue
        start = time.time()
        output_ids, top2 = answer(model, prompt_ids, end_ids, options.tokens)
        with open(options.out, "a", encoding="utf-8") as out:
            out.write(json.dumps({"id": prompt_id, "prompt_ids": prompt_ids, "output_ids": output_ids, "top2": top2}, separators=(",", ":")) + "\n")
        print(f"{prompt_id}: {len(prompt_ids)} + {len(output_ids)} tokens, {time.time() - start:.1f} s: {tokenizer.decode(output_ids)[:80]!r}", flush=True)


if __name__ == "__main__":
    main()
