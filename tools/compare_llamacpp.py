#!/usr/bin/env python3
"""Times Quern and llama.cpp on the same GGUF files, work by work in turn, and prints both side by side as a Markdown table.

Called by compare_llamacpp.sh, which says what the options are and builds what this needs. Medians of the rounds; a share is of the
memory bandwidth (decode) or of the multiplying units (prefill) that quern bench measures in the same run. "others" is how much of the
machine's processors other programs took meanwhile: llama.cpp's threads wait for each other in loops and suffer most from them, so figures
with more than a few percent there compare nothing.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

import requantize_gguf


def run(*command):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


class Quern:
    def __init__(self, args):
        self.args = args

    def report(self, path, prompt, output, batch=1):
        return json.loads(run(self.args.quern, "bench", "-m", path, "--json", "-t", self.args.threads, "-r", 1, "-p", prompt, "-n", output,
                              "-b", batch, *self.args.quern_option))


class Llama:
    def __init__(self, args):
        self.args = args

    def single(self, path, prompt, output, depth=0):
        out = run(f"{self.args.llama}/llama-bench", "-m", path, "-o", "json", "-t", self.args.threads, "-r", 1, "-p", prompt, "-n", output,
                  "-d", depth)
        return json.loads(out)[0]["avg_ts"]

    def batched(self, path, prompt, output, batch):
        out = run(f"{self.args.llama}/llama-batched-bench", "-m", path, "-t", self.args.threads, "-npp", prompt, "-ntg", output, "-npl",
                  batch, "-c", 2 * batch * (prompt + output), "--output-format", "jsonl")
        return [json.loads(line) for line in out.splitlines() if line.startswith("{")][-1]["speed_tg"]


# Each takes both engines and a file, runs one after the other and yields (work, Quern's speed, its share, llama.cpp's speed).
def time_prompt(quern, llama, path, tokens):
    part = quern.report(path, tokens, 1)["prefill"]
    yield f"prefill {tokens}", part["tokens_per_second"], part["share"], llama.single(path, tokens, 0)


def time_prompt_and_behind(quern, llama, path, tokens):
    report = quern.report(path, tokens, 32)
    part = report["prefill"]
    yield f"prefill {tokens}", part["tokens_per_second"], part["share"], llama.single(path, tokens, 0)
    part = report["decode"]
    yield f"decode at {tokens}", part["tokens_per_second"], part["share"], llama.single(path, 0, 32, tokens)


def time_decode(quern, llama, path):
    part = quern.report(path, 1, 32)["decode"]
    yield "decode at 0", part["tokens_per_second"], part["share"], llama.single(path, 0, 32)


def time_batch(quern, llama, path, batch):
    part = quern.report(path, 16, 16, batch)["decode"]
    yield f"decode, {batch} sequences", part["tokens_per_second"], part["share"], llama.batched(path, 16, 16, batch)


WORK = ((time_prompt, 512), (time_prompt_and_behind, 923), (time_decode,), (time_batch, 8), (time_batch, 32))


class OtherPrograms:
    """What part of the processors was taken by others since this was made: busy time of the machine less that of own children."""

    def __init__(self):
        self.start, self.busy, self.own = time.monotonic(), *self.now()

    @staticmethod
    def now():
        with open("/proc/stat") as file:
            user, nice, system, _, _, irq, soft, steal, *_ = (int(field) for field in file.readline().split()[1:])
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK"), usage.ru_utime + usage.ru_stime

    def share(self):
        busy, own = self.now()
        return max(0, busy - self.busy - own + self.own) / (time.monotonic() - self.start) / os.cpu_count()


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
    parser.add_argument("--seconds", type=float, default=float("inf"), help="of one type: no round begins that would not end in time")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quern-option", action="append", default=[], help="one more for quern bench, as --quern-option=--cpu-off=avx512")
    args = parser.parse_args()
    quern, llama = Quern(args), Llama(args)

    print("| weights | work | Quern, tokens/s | share of the limit | llama.cpp | ratio | others |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for kind in args.types.split(","):
        path = source_file(args, kind)
        with open(path, "rb") as file:  # both find it in the page cache
            while file.read(1 << 24):
                pass
        seen = {}
        start = time.monotonic()
        for done in range(args.rounds):
            passed = time.monotonic() - start
            if done > 0 and passed * (done + 1) / done > args.seconds:
                break
            for function, *rest in WORK:
                others = OtherPrograms()
                for work, *figures in function(quern, llama, path, *rest):
                    seen.setdefault(work, []).append((*figures, others.share()))
                    others = OtherPrograms()
        for work, rounds in seen.items():
            ours, shares, theirs, others = zip(*rounds)
            ratio = statistics.median(a / b for a, b in zip(ours, theirs))
            print(f"| {kind} | {work} | {statistics.median(ours):.1f} ({min(ours):.1f}-{max(ours):.1f}) "
                  f"| {100 * statistics.median(shares):.0f} % | {statistics.median(theirs):.1f} ({min(theirs):.1f}-{max(theirs):.1f}) "
                  f"| {ratio:.2f} | {100 * max(others):.0f} % |")
        print(f"{kind}: {len(next(iter(seen.values())))} rounds in {time.monotonic() - start:.0f} s", file=sys.stderr)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
