#!/usr/bin/env python3
"""The server beside `quern bench`, and beside llama-server, in rounds: each round runs one after the other, so that what else the machine does
falls on all of them. Prints medians over the rounds.

Usage: compare_server.py ENGINE [--clients 1,8,32] [--rounds 3] [--llama-server PROGRAM --gguf FILE] [--prompt 32] [--output 48] [--requests N]
[--threads N] [--quern PROGRAM]. Python 3 and its standard library.

`expected` is what bench's rates give for the same work: the clients' prompts one after another, then steps of as many rows. `others` is the
share of all processors that neither the load generator nor the server used meanwhile.
"""
import argparse
import contextlib
import json
import os
import resource
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

TICKS = os.sysconf("SC_CLK_TCK")


def machine_seconds():
    with open("/proc/stat", encoding="utf-8") as file:
        fields = [int(each) for each in file.readline().split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:8])) / TICKS


def process_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def child_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def running(command):
    """A server's process and port; `command` ends where the port goes."""
    port = free_port()
    with tempfile.TemporaryFile() as log, subprocess.Popen([*map(str, command), str(port)], stdout=log, stderr=subprocess.STDOUT) as process:
        try:
            deadline = time.monotonic() + 120
            while True:
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise SystemExit(f"{command[0]} did not start: {log.read()[-500:].decode(errors='replace')}")
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                    break
                except (urllib.error.URLError, OSError):
                    time.sleep(0.1)
            yield process, port
        finally:
            process.terminate()


class Comparison:
    def __init__(self, options):
        self.options = options

    def bench(self, clients):
        command = [self.options.quern, "bench", "-m", self.options.engine, "--device", "cpu", "-t", self.options.threads, "-p", self.options.prompt,
                   "-n", self.options.output, "-b", clients, "-r", 1, "--json"]
        found = json.loads(subprocess.run(list(map(str, command)), capture_output=True, check=True).stdout)
        prefill, decode = found["prefill"]["tokens_per_second"], found["decode"]["tokens_per_second"]
        seconds = clients * self.options.prompt / prefill + clients * (self.options.output - 1) / decode
        return {"expected": clients * self.options.output / seconds, "step": 1000 * clients / decode}

    def load(self, server, clients, seed):
        process, port = server
        requests = max(self.options.requests, clients)
        command = [self.options.quern, "bench", "serve", "--port", port, "--tokenizer", self.options.engine, "--num-prompts", requests, "--random-input-len",
                   self.options.prompt, "--random-output-len", self.options.output, "--ignore-eos", "--max-concurrency", clients, "--seed", seed,
                   "--disable-tqdm", "--json"]
        start, machine, own = time.monotonic(), machine_seconds(), process_seconds(process.pid) + child_seconds()
        found = json.loads(subprocess.run(list(map(str, command)), capture_output=True, check=True).stdout)
        wall = (time.monotonic() - start) * os.cpu_count()
        others = machine_seconds() - machine - (process_seconds(process.pid) + child_seconds() - own)
        return {"rate": found["output_throughput"], "ttft": found["median_ttft_ms"], "tpot": found["median_tpot_ms"], "gap": found["median_itl_ms"],
                "others": 100 * max(others, 0) / wall}

    def compare(self, clients):
        options, rounds = self.options, []
        quern = [options.quern, "serve", options.engine, "--device", "cpu", "--threads", options.threads, "--max-num-seqs", clients, "--max-model-len", 512,
                 "--disable-log-requests", "--port"]
        llama = [options.llama_server, "-m", options.gguf, "-t", options.threads, "-tb", options.threads, "-np", clients, "-c",
                 clients * (options.prompt + options.output + 64), "--no-webui", "--port"]
        with running(quern) as ours, running(llama) if options.llama_server else contextlib.nullcontext() as theirs:
            for seed in range(1, options.rounds + 1):
                figures = {"bench": self.bench(clients)} if options.bench else {}
                figures["quern"] = self.load(ours, clients, seed)
                if theirs:
                    figures["llama-server"] = self.load(theirs, clients, seed)
                rounds.append(figures)
        return rounds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("engine")
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--llama-server")
    parser.add_argument("--gguf", help="the model for llama-server")
    parser.add_argument("--no-bench", dest="bench", action="store_false")
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--output", type=int, default=48)
    parser.add_argument("--requests", type=int, default=1, help="a round; at least as many as there are clients")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--quern", default="build/release/quern")
    options = parser.parse_args()
    comparison = Comparison(options)
    for clients in map(int, options.clients.split(",")):
        rounds = comparison.compare(clients)

        def median(name, figure, rounds=rounds):
            return statistics.median(each[name][figure] for each in rounds)

        for name in rounds[0]:
            if name == "bench":
                print(f"{clients:3} clients  bench: {median(name, 'expected'):.1f} tokens/s expected, a step {median(name, 'step'):.1f} ms")
                continue
            print(f"{clients:3} clients  {name}: {median(name, 'rate'):.1f} tokens/s ({' '.join(format(each[name]['rate'], '.1f') for each in rounds)}), "
                  f"TTFT {median(name, 'ttft'):.0f} ms, TPOT {median(name, 'tpot'):.1f} ms, gap {median(name, 'gap'):.1f} ms, others {median(name, 'others'):.0f} %")
        if options.bench:
            shares = [each["quern"]["rate"] / each["bench"]["expected"] for each in rounds]
            print(f"{clients:3} clients  share of bench: {100 * statistics.median(shares):.1f} % ({' '.join(format(100 * share, '.0f') for share in shares)})")
        if options.llama_server:
            ratios = [each["quern"]["rate"] / each["llama-server"]["rate"] for each in rounds]
            print(f"{clients:3} clients  of llama-server: {statistics.median(ratios):.2f} ({' '.join(format(ratio, '.2f') for ratio in ratios)})", flush=True)


if __name__ == "__main__":
    main()
