#!/usr/bin/env python3
"""The evaluation of `quern eval summarize` through Hugging Face transformers, with the same JSON (docs/quality.md).

    hf_baseline.py MODEL DATA.jsonl -o OUT.json [--dtype float32|bfloat16|float16] [--device cpu|cuda] [--attention eager|sdpa] [--compile]
                   [--limit 20] [--max-new-tokens 100] [--max-input-tokens 923] [--force-length] [--batch 1]

MODEL is a Hugging Face folder or a GGUF file, which transformers dequantises. ROUGE is computed by the package rouge_score.
Needs torch, transformers and rouge_score (and gguf for GGUF files).
"""
import argparse
import json
import os
import resource
import sys
import time


def read_articles(path, limit):
    with open(path, encoding="utf-8") as lines:
        articles = [json.loads(line) for line in lines if line.strip()]
    return articles[: limit or None]


def summary_text(article):
    return (article["article"] + " TL;DR: ").strip().replace(" n't", "n't")


class Baseline:
    def __init__(self, options):
        import torch
        import transformers
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.torch, self.options = torch, options
        torch.set_grad_enabled(False)
        if options.threads:
            torch.set_num_threads(options.threads)
        where = {}
        folder = options.model
        if os.path.isfile(folder):
            folder, where["gguf_file"] = os.path.split(os.path.abspath(folder))
        self.tokenizer = AutoTokenizer.from_pretrained(folder, **where)
        if "gguf_file" in where and hasattr(transformers, "GgufConfig"):
            # Newer versions leave the blocks packed and multiply in float32 whatever the dtype: the baseline is a dense model.
            where["quantization_config"] = transformers.GgufConfig(dequantize=True)
        self.tokenizer.padding_side = "left"
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, options.dtype), attn_implementation=options.attention, **where)
        self.model = self.model.to(options.device).eval()
        self.end_ids = sorted({self.tokenizer.eos_token_id} | {i for i in self.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"]) if i is not None})
        self.settings = {"do_sample": False, "num_beams": 1, "temperature": None, "top_p": None, "top_k": None, "repetition_penalty": 1.0,
                         "max_new_tokens": options.max_new_tokens, "pad_token_id": self.end_ids[0], "eos_token_id": self.end_ids}
        if options.force_length:
            self.settings |= {"min_new_tokens": options.max_new_tokens, "eos_token_id": None}
        if options.compile:
            self.settings["cache_implementation"] = "static"
            self.model.forward = torch.compile(self.model.forward, mode="reduce-overhead", fullgraph=True)

    def run(self, articles):
        """Summaries of one batch, from text to text."""
        torch = self.torch
        prompts = [self.tokenizer(summary_text(a), add_special_tokens=False)["input_ids"] for a in articles]
        cut = [p[-self.options.max_input_tokens :] for p in prompts]
        width = max(map(len, cut))
        ids = torch.tensor([[self.end_ids[0]] * (width - len(p)) + p for p in cut], device=self.options.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in cut], device=self.options.device)
        outputs = self.model.generate(input_ids=ids, attention_mask=mask, **self.settings)
        results = []
        for prompt, whole, output in zip(cut, prompts, outputs[:, width:].tolist()):
            if not self.options.force_length:
                ends = [i for i, token in enumerate(output) if token in self.end_ids]
                output = output[: ends[0]] if ends else output
            results.append({"input_tokens": len(prompt), "cut": len(prompt) < len(whole), "output_ids": output,
                            "text": self.tokenizer.decode(output, skip_special_tokens=True)})
        return results


def add_scores(summaries, articles):
    import numpy as np
    from rouge_score import rouge_scorer, scoring

    types = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    scorer, aggregator = rouge_scorer.RougeScorer(types), scoring.BootstrapAggregator()
    np.random.seed(0)
    means = dict.fromkeys(types, 0.0)
    for summary, article in zip(summaries, articles):
        scores = scorer.score(article["highlights"], summary["text"])
        aggregator.add_scores(scores)
        for t in types:
            summary[t] = 100 * scores[t].fmeasure
            means[t] += summary[t] / len(articles)
    found = aggregator.aggregate()
    result = {t: 100 * found[t].mid.fmeasure for t in types}
    result["intervals"] = {t: [100 * found[t].low.fmeasure, 100 * found[t].high.fmeasure] for t in types}
    result["means"] = means
    return result


def model_bytes(path):
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(path, f)) for f in os.listdir(path) if f.endswith((".safetensors", ".bin")))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--attention", default="sdpa", choices=["eager", "sdpa"])
    parser.add_argument("--compile", action="store_true", help="torch.compile with a static cache")
    parser.add_argument("--limit", type=int, default=20, help="the first N articles; 0: all")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--max-new-tokens", type=int, default=100)
    parser.add_argument("--max-input-tokens", type=int, default=923)
    parser.add_argument("--force-length", action="store_true")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()

    articles = read_articles(options.data, options.limit)
    baseline = Baseline(options)
    print("warm-up:", baseline.run(articles[:1])[0]["text"], file=sys.stderr)
    summaries, seconds = [], 0.0
    for begin in range(0, len(articles), options.batch):
        start = time.perf_counter()
        summaries += baseline.run(articles[begin : begin + options.batch])
        seconds += time.perf_counter() - start
        print(f"{len(summaries)} of {len(articles)}, {seconds:.1f} s", file=sys.stderr)
    for summary, article in zip(summaries, articles):
        summary["id"] = article["id"]
    tokens = sum(len(s["output_ids"]) for s in summaries)
    device = baseline.torch.cuda.get_device_name() if options.device.startswith("cuda") else f"CPU, {baseline.torch.get_num_threads()} threads"
    peak = baseline.torch.cuda.max_memory_allocated() if options.device.startswith("cuda") else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    result = {"engine": f"transformers {options.attention}{' compiled' if options.compile else ''}", "model": options.model, "dtype": options.dtype, "device": device}
    result |= add_scores(summaries, articles)
    result |= {"tokens": tokens, "seconds": seconds, "ms_per_token": 1000 * seconds / max(tokens, 1), "articles": len(articles), "batch": options.batch,
               "length": "forced" if options.force_length else "free", "form": "text", "max_input_tokens": options.max_input_tokens,
               "max_new_tokens": options.max_new_tokens, "stemmer": False, "peak_memory_bytes": peak, "engine_bytes": model_bytes(options.model), "summaries": summaries}
    with open(options.output, "w", encoding="utf-8") as out:
        json.dump(result, out)
        out.write("\n")


if __name__ == "__main__":
    main()
