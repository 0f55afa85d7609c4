#!/usr/bin/env python3
"""The program on a GPU against the same program on the CPU: greedy text of every type of weights, requests in full batches against the
same requests alone, and what it says when a device is not there.

Usage: end_to_end.py QUERN [--model PATH ...] [--dtype TYPE,...] [--requests N] [--prompts FILE]. Python 3 and its standard library. A model
is a GGUF file or a Hugging Face folder; without one the embedded model is used. A line of FILE has "messages" or "prompt" and "id"; 40 of
them, spread over the file, take the place of the prompts below. Exit status 77 where there is no GPU.
"""
import argparse
import json
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
STORIES = ROOT / "tests" / "models" / "stories260K-qwen2"
POISON = 300  # the token of overflowing_model() that no other prompt has
TIE = 0.02  # nats between the two likeliest tokens where devices may choose differently
PROMPTS = ["Once upon a time", "The capital of France is", "def fibonacci(n):\n", "List three reasons why the sea is salty.",
           "Write a short letter to a friend who has moved to another town.", "1, 2, 3, 5, 8, 13,", "Why does ice float on water?",
           "#include <stdio.h>\nint main() {\n", "Explain what a compiler does, in two sentences.", "今天天气很好，", "Translate to French: good morning",
           "A poem about rain:\n"]


class Program:
    def __init__(self, quern, folder):
        self.quern, self.folder, self.count = quern, pathlib.Path(folder), 0

    def run(self, *arguments):
        return subprocess.run([self.quern, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=500)

    def answers(self, engine, device, requests, *options):
        """The lines of a batch of requests, in their order."""
        self.count += 1
        asked, out = self.folder / f"{self.count}.in.jsonl", self.folder / f"{self.count}.out.jsonl"
        asked.write_text("".join(json.dumps(r) + "\n" for r in requests), encoding="utf-8")
        result = self.run("run", "-m", engine, "--prompts", asked, "--out", out, "--device", device, *options)
        if result.returncode != 0:
            raise AssertionError(f"{device}: exit {result.returncode}: {result.stderr[-500:]}")
        return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()], result.stderr.strip().splitlines()[-1]


def difference(got, want):
    """None for equal tokens, else (place, gap of the two likeliest in nats, whether both tokens are those two)."""
    for i, (a, b) in enumerate(zip(got["output_ids"], want["output_ids"])):
        if a != b:
            top = want["logprobs"][i]["top"]
            return i, top[0][1] - top[1][1], {a, b} == {top[0][0], top[1][0]}
    return None if len(got["output_ids"]) == len(want["output_ids"]) else (min(len(got["output_ids"]), len(want["output_ids"])), 9, False)


def compare(name, got, want, binding=True):
    """Prints one line; whether every difference is a near tie, or anything goes."""
    differences = [d for d in map(difference, got, want) if d is not None]
    wrong = [d for d in differences if not (d[2] and d[1] <= TIE)]
    tokens = sum(len(w["output_ids"]) for w in want)
    worst = max((abs(g["logprobs"][i]["logprob"] - w["logprobs"][i]["logprob"]) for g, w in zip(got, want)
                 for i in range(min(len(g["output_ids"]), len(w["output_ids"]), (difference(g, w) or (1 << 30,))[0]))), default=0)
    print(f"{name:50} {len(want):5} answers {tokens:6} tokens: {len(want) - len(differences):5} the same, {len(differences)} part at a near tie"
          f" of at most {max((d[1] for d in differences), default=0):.4f} nats, {len(wrong)} elsewhere; logprobs within {worst:.4f}", flush=True)
    for d in wrong[:5] if binding else []:
        print(f"   WRONG at token {d[0]}: gap {d[1]:.4f}, inside the top two: {d[2]}")
    return not wrong or not binding


def device_errors(program, engine):
    """(name, holds) of what must be refused or accepted."""
    def fails(device, *words):
        result = program.run("run", "-m", engine, "-p", "Once", "-n", 2, "--device", device)
        return result.returncode != 0 and len(result.stderr.strip().splitlines()) == 1 and all(w in result.stderr for w in words)

    yield "cuda:77 is refused with the number of GPUs", fails("cuda:77", "cuda:77", "GPU")
    yield "cuda:x is refused", fails("cuda:x", "cuda:N")
    for device in ("auto", "cuda", "cuda:0"):
        result = program.run("run", "-m", engine, "-p", "Once", "-n", 4, "--temp", 0, "--device", device)
        yield f"{device} answers", result.returncode == 0


def overflowing_model(folder):
    """The embedded model with numbers that are finite in the file and overflow in one request: what attention adds to every row of the
    residual stream is 1e38 in each column, and the embedding of one token is 3e38, so that the two together are beyond f32."""
    shutil.copytree(STORIES, folder)
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    (size,) = struct.unpack_from("<Q", data)
    tensors = json.loads(data[8 : 8 + size])

    def fill(name, value, first=0, count=None):
        begin, end = (8 + size + offset for offset in tensors[name]["data_offsets"])
        for at in range(begin + 4 * first, end if count is None else begin + 4 * (first + count), 4):
            struct.pack_into("<f", data, at, value)

    layer, columns = "model.layers.0.self_attn.", 64
    fill(layer + "v_proj.weight", 0)
    fill(layer + "v_proj.bias", 100)
    fill(layer + "o_proj.weight", 1e38 / 100 / columns)
    fill("model.embed_tokens.weight", 3e38, first=POISON * columns, count=columns)
    path.write_bytes(data)
    return folder


def poisoned_request(program, folder):
    """(name, holds): a request whose numbers overflow ends with an error, the others beside it end as they should."""
    source = overflowing_model(pathlib.Path(folder) / "overflow")
    for dtype in ("f32", "bf16"):
        engine = pathlib.Path(folder) / "overflow.quern"
        built = program.run("build", source, "-o", engine, "--dtype", dtype, "--no-receipt")
        if built.returncode != 0:
            raise AssertionError(built.stderr)
        asked = [{"id": str(i), "prompt_ids": [5, 6, POISON if i == 2 else 7], "temperature": 0, "max_tokens": 4, "ignore_eos": True} for i in range(5)]
        out = pathlib.Path(folder) / "overflow.out"
        out.unlink(missing_ok=True)
        (pathlib.Path(folder) / "overflow.in").write_text("".join(json.dumps(r) + "\n" for r in asked), encoding="utf-8")
        for device in ("cpu", "cuda"):
            result = program.run("run", "-m", engine, "--prompts", pathlib.Path(folder) / "overflow.in", "--out", out, "--device", device)
            reasons = [json.loads(line)["finish_reason"] for line in out.read_text(encoding="utf-8").splitlines()]
            yield f"{dtype} {device}: one request of five overflows and ends with an error: {reasons}, exit {result.returncode}: " \
                f"{result.stderr.strip().splitlines()[-1:]}", reasons == ["error" if i == 2 else "length" for i in range(5)]
            out.unlink()


def prompts_of(path, count=40):
    if path is None:
        return [{"prompt": p} for p in PROMPTS]
    lines = [json.loads(line) for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines()]
    fitting = [{k: r[k] for k in ("messages", "prompt") if k in r} for r in lines if len(json.dumps(r)) < 3000]
    return [fitting[i * len(fitting) // count] for i in range(min(count, len(fitting)))]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("quern")
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--dtype", default="f32,bf16,f16,int8,int4")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--prompts")
    options = parser.parse_args()
    prompts = prompts_of(options.prompts)
    good = True
    with tempfile.TemporaryDirectory() as folder:
        program = Program(options.quern, folder)
        for model in options.model or [STORIES]:
            for dtype in options.dtype.split(","):
                engine = pathlib.Path(folder) / "model.quern"
                built = program.run("build", model, "-o", engine, "--dtype", dtype, "--no-receipt")
                if built.returncode != 0:
                    raise AssertionError(built.stderr)
                if dtype == options.dtype.split(",")[0]:
                    if "no NVIDIA driver" in program.run("run", "-m", engine, "-p", "Once", "-n", 2, "--device", "cuda").stderr:
                        print("skipped: no GPU")
                        return 77
                    checks = list(device_errors(program, engine)) + ([] if options.model else list(poisoned_request(program, folder)))
                    for name, holds in checks:
                        print(f"{'ok' if holds else 'WRONG':6} {name}")
                        good = good and holds
                asked = [{"id": str(i), **p, "temperature": 0, "max_tokens": options.tokens, "ignore_eos": True, "logprobs": 2}
                         for i, p in enumerate(prompts)]
                name = f"{pathlib.Path(model).name[:30]} {dtype}"
                cpu, _ = program.answers(engine, "cpu", asked)
                gpu, _ = program.answers(engine, "cuda", asked, "--max-num-seqs", 1)
                # On the CPU products of integer weights round their input to 8 bits: perplexity judges those.
                good = compare(name + " GPU, CPU", gpu, cpu, not dtype.startswith("int")) and good
                together, _ = program.answers(engine, "cuda", asked, "--max-num-seqs", len(asked))
                good = compare(name + " GPU together, alone", together, gpu) and good
                if options.requests:
                    draw = random.Random(3)
                    many = [{"id": str(i), "prompt": " ".join(draw.choice(PROMPTS) for _ in range(draw.randrange(1, 6))), "temperature": 0,
                             "max_tokens": draw.randrange(1, options.tokens), "ignore_eos": True, "logprobs": 2} for i in range(options.requests)]
                    alone, _ = program.answers(engine, "cuda", many, "--max-num-seqs", 1, "--no-prefix-caching")
                    full, line = program.answers(engine, "cuda", many, "--max-num-seqs", 64)
                    good = compare(name + " 64 at a time, alone", full, alone) and good
                    print("   " + line)
    print("all good" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
