#!/usr/bin/env python3
"""quern bench serve against a real server, and its figures against the server's own.

Usage: bench_serve.py STUB_SERVER QUERN. Python 3 and its standard library. Prints "N of N".
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
import xml.dom.minidom

STEP = 0.004  # seconds of a step of the stub's model


class Load:
    def __init__(self, url, quern, folder):
        self.url, self.quern, self.folder = url, quern, pathlib.Path(folder)

    def bench(self, *options):
        url = [] if "--base-url" in options else ["--base-url", self.url]
        command = [self.quern, "bench", "serve", *url, *map(str, options)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def figures(self, *options):
        result = self.bench("--json", *options)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def counters(self):
        text = urllib.request.urlopen(self.url + "/metrics", timeout=30).read().decode()
        return {name: float(value) for name, value in re.findall(r"^quern:(\w+)\{[^}]*\} (\S+)$", text, re.M)}


def counts_are_the_servers(load):
    before = load.counters()
    figures = load.figures("--num-prompts", 40, "--random-input-len", 20, "--random-output-len", 12, "--random-range-ratio", 0.5, "--ignore-eos",
                           "--max-concurrency", 4)
    after = load.counters()
    assert figures["completed"] == 40 and figures["failed"] == 0 and figures["model_id"] == "echo", figures
    # The request before the timed ones: "Hello", 5 bytes and tokens, and 4 tokens of answer.
    assert after["generation_tokens_total"] - before["generation_tokens_total"] == figures["total_output_tokens"] + 4
    assert after["requests_completed_total"] - before["requests_completed_total"] == 41
    assert 40 * 6 <= figures["total_output_tokens"] <= 40 * 18
    assert abs(figures["output_throughput"] - figures["total_output_tokens"] / figures["duration"]) < 1e-6
    assert figures["max_concurrent_requests"] >= 1 and figures["duration"] > 0


def times_are_those_of_the_model(load):
    """One client: a token a step. The bounds are one-sided but for what a busy machine adds."""
    figures = load.figures("--num-prompts", 10, "--random-input-len", 5, "--random-output-len", 20, "--ignore-eos", "--max-concurrency", 1)
    assert STEP * 1000 <= figures["median_tpot_ms"] < 20 * STEP * 1000, figures
    assert STEP * 1000 <= figures["median_ttft_ms"] < 50 * STEP * 1000, figures
    assert abs(figures["mean_e2el_ms"] - figures["mean_ttft_ms"] - 19 * figures["mean_tpot_ms"]) < 0.01 * figures["mean_e2el_ms"], figures
    assert figures["p90_ttft_ms"] <= figures["p99_ttft_ms"]


def chat_rate_files_and_goodput(load):
    prompts = load.folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"say {i} 你好", "output_tokens": 5}) + "\n" for i in range(7)), encoding="utf-8")
    plot, result = load.folder / "plot.svg", load.folder / "result.json"
    start = time.monotonic()
    done = load.bench("--backend", "openai-chat", "--dataset-name", "custom", "--dataset-path", prompts, "--num-prompts", 21, "--request-rate", 40,
                      "--goodput", "ttft:60000", "e2el:60000", "--plot", plot, "--save-result", "--save-detailed", "--result-filename", result)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - start > 20 / 40, "21 requests at 40 a second"
    assert re.search(r"Successful requests: +21 ", done.stdout) and re.search(r"Request goodput \(req/s\): +[\d.]+", done.stdout), done.stdout
    saved = json.loads(result.read_text(encoding="utf-8"))
    assert saved["request_rate"] == 40 and saved["total_output_tokens"] == 105 and len(saved["itls"]) == 21, saved
    assert saved["request_goodput"] == saved["request_throughput"]
    assert xml.dom.minidom.parse(str(plot)).documentElement.tagName == "svg"


def failures_are_told(load):
    long = load.bench("--num-prompts", 3, "--random-input-len", 2000, "--random-output-len", 5)
    assert long.returncode == 4 and "3 of 3 requests failed" in long.stderr and "context" in long.stderr, long.stderr
    for options, says in ((["--model", "nobody"], "nobody"), (["--endpoint", "/nowhere"], "404"), (["--base-url", "http://127.0.0.1:9"], "refused"),
                          (["--request-rate", "-1"], "--request-rate"), (["--goodput", "speed:1"], "--goodput"), (["--dataset-name", "custom"], "--dataset-path"),
                          (["--percentile-metrics", "x"], "--percentile-metrics"), (["--extra-body", "[]"], "--extra-body")):
        failed = load.bench("--num-prompts", 1, *options)
        assert failed.returncode in (2, 4) and says in failed.stderr, (options, failed.returncode, failed.stderr)


TESTS = [counts_are_the_servers, times_are_those_of_the_model, chat_rate_files_and_goodput, failures_are_told]


def main():
    stub, quern = sys.argv[1:3]
    passed = 0
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen([stub, str(STEP), "8", "1024", "2048"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        load = Load(f"http://127.0.0.1:{int(process.stdout.readline())}", quern, folder)
        for test in TESTS:
            try:
                test(load)
                passed += 1
                print(f"passed {test.__name__}", flush=True)
            except Exception as error:  # pylint: disable=broad-except
                print(f"FAILED {test.__name__}: {type(error).__name__}: {error}", flush=True)
        process.stdin.close()
    print(f"{passed} of {len(TESTS)}")
    return 0 if passed == len(TESTS) else 1


if __name__ == "__main__":
    sys.exit(main())
