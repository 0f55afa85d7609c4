#!/usr/bin/env python3
"""The program from end to end, on the embedded model: build, info, verify, run, batches, resuming, chat, tokenize, bench.

Usage: run.py QUERN [--only NAME]. Python 3 and its standard library. Prints "N of N".
"""
import argparse
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "tests" / "models" / "stories260K-qwen2"
GOLDEN = json.loads((MODEL / "golden.json").read_text(encoding="utf-8"))
sys.path.insert(0, str(ROOT / "tests" / "bad_inputs"))


class Shell:
    """A folder, a cache of its own, and the program."""

    def __init__(self, quern, folder):
        self.quern, self.folder = quern, pathlib.Path(folder)
        self.environment = dict(os.environ, XDG_CACHE_HOME=str(self.folder / "cache"), HOME=str(self.folder))
        self.engine = self.folder / "stories.quern"
        self.ok("build", MODEL, "-o", self.engine)

    def run(self, *arguments, text=None):
        return subprocess.run([self.quern, *map(str, arguments)], env=self.environment, input=text, capture_output=True, text=True, check=False,
                              timeout=600, cwd=self.folder)

    def ok(self, *arguments, text=None):
        result = self.run(*arguments, text=text)
        assert result.returncode == 0, f"{arguments[0]} ended with {result.returncode}: {result.stderr}"
        return result.stdout

    def start(self, *arguments):
        return subprocess.Popen([self.quern, *map(str, arguments)], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                cwd=self.folder)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def answers(self, lines, *options, name="batch"):
        """The results of a batch of prompts, as a list of objects."""
        prompts = self.write(name + ".in.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        out = self.folder / (name + ".out.jsonl")
        out.unlink(missing_ok=True)
        self.ok("run", "-m", self.engine, "--prompts", prompts, "--out", out, *options)
        return read_lines(out)


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def stories(count, tokens):
    """Prompts that differ in text, length and sampling."""
    beginnings = ["Once upon a time", "One day, a little girl named Lily", "The dog", "Tom and Sam were", "A", "It was a sunny day and the cat"]
    for i in range(count):
        line = {"id": f"story-{i}", "prompt": beginnings[i % len(beginnings)] + " and" * (i % 5), "max_tokens": tokens + i % 7, "temperature": 0}
        if i % 4 == 3:
            line |= {"temperature": 0.8, "seed": i, "top_k": 50, "repetition_penalty": 1.1}
        yield line


def golden_text(shell):
    line = {"id": 1, "prompt_ids": [1], "max_tokens": len(GOLDEN["greedy_ids"]), "temperature": 0, "ignore_eos": True}
    (answer,) = shell.answers([line])
    assert answer["output_ids"] == GOLDEN["greedy_ids"], f"want {GOLDEN['ids'][:20]}..., found {answer['output_ids'][:20]}..."
    assert answer["text"].strip() == GOLDEN["text"].strip(), f"want {GOLDEN['text'][:80]!r}, found {answer['text'][:80]!r}"
    assert list(answer) == ["id", "text", "output_ids", "prompt_tokens", "output_tokens", "finish_reason"], list(answer)
    assert answer["id"] == 1 and answer["prompt_tokens"] == 1 and answer["finish_reason"] == "length", answer


def streamed_text_is_the_text(shell):
    arguments = ("run", "-m", shell.engine, "-p", "Once upon a time", "-n", "60", "--temp", "0")
    streamed = shell.ok(*arguments)
    whole = json.loads(shell.ok(*arguments, "--json"))
    assert streamed.rstrip("\n") == whole["text"].rstrip("\n"), (streamed, whole["text"])
    figures = whole["figures"]
    assert figures["output_tokens"] == 60 and figures["first_token_seconds"] > 0 and figures["decode_tokens_per_second"] > 0, figures
    assert figures["read_bytes_per_second"] > 0 and figures["memory_bytes_per_second"] > 0, figures
    result = shell.run(*arguments)
    assert re.search(r"output 60 tokens.*first token .*tokens/s.*GB/s = \d+ %", result.stderr), result.stderr


def the_same_alone_and_in_any_batch(shell):
    lines = list(stories(24, 30))
    together = shell.answers(lines)
    assert [answer["id"] for answer in together] == [line["id"] for line in lines], "not in the order of the prompts"
    for options in (["--max-num-seqs", "1"], ["--max-num-seqs", "3", "-t", "1"], ["--max-num-batched-tokens", "5", "--max-num-seqs", "4"],
                    ["--no-prefix-caching", "--block-size", "8"]):
        other = shell.answers(lines, *options, name="other")
        assert other == together, f"{options}: {[(a, b) for a, b in zip(other, together) if a != b][:1]}"
    alone = json.loads(shell.ok("run", "-m", shell.engine, "-p", lines[0]["prompt"], "-n", lines[0]["max_tokens"], "--temp", "0", "--json"))
    assert alone["output_ids"] == together[0]["output_ids"]


def a_batch_goes_on(shell):
    """Stopped by a signal, killed, cut off in the middle of a line: the same command ends with the same file."""
    lines = list(stories(60, 200))
    want = shell.answers(lines, name="whole")
    prompts, out = shell.folder / "whole.in.jsonl", shell.folder / "parts.jsonl"
    command = ("run", "-m", shell.engine, "--prompts", prompts, "--out", out, "--max-num-seqs", "4")
    for number, status in ((signal.SIGINT, 75), (signal.SIGTERM, 75), (signal.SIGKILL, -9)):
        before = len(read_lines(out)) if out.exists() else 0
        process = shell.start(*command)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and (not out.exists() or out.read_bytes().count(b"\n") < before + 5) and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(number)
        _, stderr = process.communicate()
        done = out.read_bytes().count(b"\n")
        assert process.returncode == status or done == len(lines), f"{number.name}: found {process.returncode}: {stderr}"
    with open(out, "ab") as file:
        file.write(b'{"id":"story-59","text":"cut o')
    shell.ok(*command)
    assert read_lines(out) == want, "the parts are not the whole"
    stamp = out.stat().st_mtime_ns
    shell.ok(*command)
    assert out.stat().st_mtime_ns == stamp, "a finished file was written again"


def sampling_is_seeded(shell):
    arguments = ("run", "-m", shell.engine, "-p", "Once", "-n", "40", "--temp", "1", "--json", "--seed")
    texts = [json.loads(shell.ok(*arguments, seed))["text"] for seed in (1, 1, 2, 3)]
    assert texts[0] == texts[1] and len(set(texts)) == 3, texts


def stops(shell):
    whole = json.loads(shell.ok("run", "-m", shell.engine, "-p", "Once upon a time", "-n", "80", "--temp", "0", "--json"))
    word = whole["text"].split()[12]
    cut = json.loads(shell.ok("run", "-m", shell.engine, "-p", "Once upon a time", "-n", "80", "--temp", "0", "--json", "--stop", word))
    assert cut["text"] == whole["text"][: whole["text"].index(word)] and cut["finish_reason"] == "stop", (word, cut)


def info_and_verify(shell):
    info = json.loads(shell.ok("info", shell.engine, "--json"))
    assert info["model"]["hidden_size"] == 64 and info["model"]["num_layers"] == 5, info
    shell.ok("info", shell.engine, "--tensors")
    shell.ok("verify", shell.engine)


def builds_are_equal(shell):
    want = shell.engine.read_bytes()
    elsewhere = shell.folder / "other folder"
    elsewhere.mkdir()
    for threads in (1, 2, 5):
        shell.ok("build", MODEL, "-o", elsewhere / "x.quern", "--threads", threads)
        assert (elsewhere / "x.quern").read_bytes() == want, f"{threads} threads give other bytes"
    assert [path.name for path in elsewhere.iterdir()] == ["x.quern"], list(elsewhere.iterdir())


def every_dtype_talks(shell):
    for dtype in ("f32", "f16", "bf16", "int8", "int4"):
        engine = shell.folder / f"{dtype}.quern"
        shell.ok("build", MODEL, "-o", engine, "--dtype", dtype)
        text = shell.ok("run", "-m", engine, "-p", "Once upon a time", "-n", "30", "--temp", "0")
        assert len(text.split()) > 10, (dtype, text)
        receipt = json.loads(shell.ok("info", engine, "--json"))["receipt"]
        assert ("quality" in receipt) == (dtype != "f32"), (dtype, receipt)
        if dtype == "int4":
            shell.ok("verify", engine, "--quality", "--source", MODEL)
        elif dtype == "int8":
            shell.ok("verify", engine, "--quality")


def models_by_folder_are_cached(shell):
    """A Hugging Face folder and a GGUF file become an engine once."""
    from tiny import Gguf

    gguf = shell.folder / "tiny.gguf"
    gguf.write_bytes(Gguf().bytes())
    for model in (MODEL, gguf):
        first = shell.run("run", "-m", model, "-p", "Once", "-n", "4", "--temp", "0")
        second = shell.run("run", "-m", model, "-p", "Once", "-n", "4", "--temp", "0")
        assert first.returncode == second.returncode == 0, first.stderr + second.stderr
        assert first.stdout == second.stdout and "cache" in first.stderr and "cache" not in second.stderr.replace("cached", ""), (first.stderr, second.stderr)


def tokenize_and_back(shell):
    for text in ("Once upon a time, there was a cat.", "Zoë 汉字 🙂\n\n  two  spaces\t", "<s> is text or not"):
        ids = shell.ok("tokenize", "-m", shell.engine, "-p", text, "--ids", "--no-bos", "--no-parse-special")
        assert shell.ok("tokenize", "-m", shell.engine, "-p", ids.strip(), "--decode").strip() == text.strip(), (text, ids)
    answer = json.loads(shell.ok("tokenize", "-m", shell.engine, "--json", text="Once upon"))
    assert answer["count"] == len(answer["ids"]) == len(answer["pieces"]), answer


def chat_without_a_terminal(shell):
    from tiny import HfCheckpoint

    assert shell.run("chat", "-m", shell.engine, text="hello\n").returncode == 2, "a text model chats"
    HfCheckpoint().write(shell.folder / "tiny")
    command = ("chat", "-m", shell.folder / "tiny", "-n", "8", "--temp", "0")
    once = shell.ok(*command, text="hello\n")
    assert shell.ok(*command, text="hello\n/clear\nhello\n") == once + once, "/clear leaves something"
    assert shell.ok(*command, text="hello\n/exit\nhello\n") == once
    assert shell.ok(*command, text="/help\n").startswith("/clear")
    assert "not a command" in shell.run(*command, text="/frob\n").stderr
    other = shell.ok(*command, text="/system Speak like a cat.\nhello\n")
    assert shell.ok(*command, "--system", "Speak like a cat.", text="hello\n") == other
    long = shell.run(*command, text="q" * 3000 + "\nhello\n")
    assert long.returncode == 0 and "256" in long.stderr and long.stdout == once, (long.stderr, long.stdout)


def one_file_runs_elsewhere(shell):
    """Nothing but the C library is needed."""
    listed = subprocess.run(["ldd", shell.quern], capture_output=True, text=True, check=True).stdout
    names = {line.split()[0].rsplit("/", 1)[-1] for line in listed.splitlines() if line.strip()}
    if any("asan" in name for name in names):
        return
    allowed = {"linux-vdso.so.1", "libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
    assert names <= allowed, names - allowed


def bench_answers(shell):
    report = json.loads(shell.ok("bench", "-m", shell.engine, "-p", "32", "-n", "8", "-b", "2", "-r", "2", "--json"))
    assert report["prefill"]["tokens_per_second"] > 0 and report["decode"]["tokens_per_second"] > 0, report
    assert report["limits"]["bytes_per_second"] > 0 and report["limits"]["operations_per_second"]["f32"] > 0, report


def plan_is_what_is_taken(shell):
    """The total of `quern plan` against the peak of resident memory. Absolute: of a model this small the program itself is the most of it."""
    allowance = 24 << 20
    for options in (["-c", "64", "--parallel", "1"], ["-c", "512", "--parallel", "32"]):
        plan = json.loads(shell.ok("plan", shell.engine, "--json", *options))
        parts = plan["weights_bytes"] + plan["kv_cache_bytes"] + plan["workspace_bytes"]
        assert plan["total_bytes"] <= parts, plan
        process = shell.start("run", "-m", shell.engine, "-p", "Once upon a time", "-n", "1", *options)
        process.stdout.read(), process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = usage.ru_maxrss * 1024
        assert process.returncode == 0 and abs(plan["total_bytes"] - peak) <= allowance, (options, plan, peak)


TESTS = (golden_text, streamed_text_is_the_text, the_same_alone_and_in_any_batch, a_batch_goes_on, sampling_is_seeded, stops, info_and_verify,
         builds_are_equal, every_dtype_talks, models_by_folder_are_cached, tokenize_and_back, chat_without_a_terminal, one_file_runs_elsewhere,
         bench_answers, plan_is_what_is_taken)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("quern")
    parser.add_argument("--only")
    options = parser.parse_args()
    tests = [test for test in TESTS if not options.only or test.__name__ == options.only]
    failed = 0
    for test in tests:
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            try:
                test(Shell(os.path.abspath(options.quern), folder))
                print(f"passed  {time.monotonic() - start:5.1f} s  {test.__name__}")
            except (AssertionError, subprocess.SubprocessError, ValueError, KeyError, OSError) as problem:
                failed += 1
                print(f"FAILED  {time.monotonic() - start:5.1f} s  {test.__name__}: {type(problem).__name__}: {problem}")
    print(f"end to end: {len(tests) - failed} of {len(tests)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
