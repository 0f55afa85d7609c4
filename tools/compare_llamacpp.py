#!/usr/bin/env python3
"""Times Quern and llama.cpp on the same GGUF files, round by round in turn, and prints both side by side as a Markdown table.

Called by compare_llamacpp.sh, which says what the options are and builds what this needs. Medians of the rounds; a share is of the
memory bandwidth (decode) or of the multiplying units (prefill) that quern bench measures in the same run.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

import requantize_gguf

# name, prompt tokens, output tokens, depth, batch
CASES = {
    "prefill 512": (512, 0, 0, 1),
    "prefill 923": (923, 0, 0, 1),
    "decode at 0": (0, 32, 0, 1),
    "decode at 1024": (0, 32, 1024, 1),
    "decode, 8 sequences": (16, 16, 0, 8),
    "decode, 32 sequences": (16, 16, 0, 32),
}


def run(*command):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


class Quern:
    def __init__(self, args):
        self.args = args

    def time(self, path, case):
        prompt, output, depth, batch = case
        out = run(self.args.quern, "bench", "-m", path, "--json", "-t", self.args.threads, "-r", 1, "-p", max(prompt, 1), "-n",
                  max(output, 1), "-d", depth, "-b", batch, *self.args.quern_option)
        report = json.loads(out)
        part = report["prefill" if output == 0 else "decode"]
        return part["tokens_per_second"], part["share"]


class Llama:
    def __init__(self, args):
        self.args = args

    def time(self, path, case):
        prompt, output, depth, batch = case
        if batch == 1:
            out = run(f"{self.args.llama}/llama-bench", "-m", path, "-o", "json", "-t", self.args.threads, "-r", 1, "-p", prompt, "-n",
                      output, "-d", depth)
            return json.loads(out)[0]["avg_ts"], None
        out = run(f"{self.args.llama}/llama-batched-bench", "-m", path, "-t", self.args.threads, "-npp", prompt, "-ntg", output, "-npl",
                  batch, "-c", 2 * batch * (prompt + output), "--output-format", "jsonl")
        rows = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        return rows[-1]["speed_tg"], None


def source_file(args, kind):
    if kind == "source":
        return args.model
    path = os.path.join(args.work, f"{os.path.splitext(os.path.basename(args.model))[0]}-{kind}.gguf")
    if not os.path.exists(path):
        print(f"making {path}", file=sys.stderr)
        requantize_gguf.requantize(args.model, path, kind)
    return path


def main():
    parser = argparse.ArgumentParser()
    for name in ("quern", "llama", "work", "model"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--types", default="f16,bf16,q8_0,q4_0,source")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="leave out 923 tokens and depth 1024")
    parser.add_argument("--quern-option", action="append", default=[], help="one more option for quern bench, as --quern-option=--cpu-off=avx512")
    args = parser.parse_args()
    cases = {name: case for name, case in CASES.items() if not args.quick or name not in ("prefill 923", "decode at 1024")}
    engines = (Quern(args), Llama(args))

    print("| weights | work | Quern, tokens/s | share of the limit | llama.cpp | ratio |")
    print("|---|---|---|---|---|---|")
    for kind in args.types.split(","):
        path = source_file(args, kind)
        for name, case in cases.items():
            times = ([], [])
            shares = []
            for _ in range(args.rounds):
                for engine, into in zip(engines, times):
                    speed, share = engine.time(path, case)
                    into.append(speed)
                    if share is not None:
                        shares.append(share)
            ours, theirs = (statistics.median(t) for t in times)
            print(f"| {kind} | {name} | {ours:.1f} ({min(times[0]):.1f}-{max(times[0]):.1f}) | {100 * statistics.median(shares):.0f} % "
                  f"| {theirs:.1f} ({min(times[1]):.1f}-{max(times[1]):.1f}) | {ours / theirs:.2f} |", flush=True)


if __name__ == "__main__":
    main()
