#!/usr/bin/env python3
"""quern serve from end to end, on the embedded model: start, answers, options, signals.

Usage: serve.py QUERN [--only NAME]. Python 3 and its standard library. Prints "N of N".
"""
import argparse
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "tests" / "models" / "stories260K-qwen2"
GOLDEN = json.loads((MODEL / "golden.json").read_text(encoding="utf-8"))


class Serve:
    """A running `quern serve`, ready unless told otherwise."""

    def __init__(self, shop, *options, env=None, waits=True, engine=None):
        arguments = [shop.quern, "serve", engine or shop.engine, "--port", "0", "--device", "cpu", *map(str, options)]
        self.process = subprocess.Popen(arguments, env=dict(shop.environment, **(env or {})), stderr=subprocess.PIPE, text=True)
        self.log, self.port = "", None
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        deadline = time.monotonic() + 60
        while waits and self.port is None and self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not waits or self.port, self.log

    def read(self):
        for line in self.process.stderr:
            self.log += line
            if found := re.search(r"serving on https?://[^ ]*:(\d+)", line):
                self.port = int(found.group(1))

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, dict({"Content-Type": "application/json"}, **(headers or {})))
        reply = connection.getresponse()
        text = reply.read().decode()
        connection.close()
        return reply.status, text

    def json(self, path, body):
        status, text = self.ask("POST", path, body)
        assert status == 200, (status, text)
        return json.loads(text)

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        status = self.process.wait(60)
        self.reader.join(10)
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Shop:
    def __init__(self, quern, folder):
        self.quern, self.folder = quern, pathlib.Path(folder)
        self.environment = dict(os.environ, XDG_CACHE_HOME=str(self.folder / "cache"), HOME=str(self.folder))
        self.engine = str(self.folder / "stories.quern")
        subprocess.run([quern, "build", MODEL, "-o", self.engine], env=self.environment, check=True, capture_output=True)

    def fails(self, *options, env=None):
        """Exit status and standard error of a start that must fail."""
        result = subprocess.run([self.quern, "serve", self.engine, "--device", "cpu", *map(str, options)], env=dict(self.environment, **(env or {})),
                                capture_output=True, text=True, timeout=60, check=False)
        return result.returncode, result.stderr


def golden_text(shop):
    with Serve(shop) as serve:
        count = len(GOLDEN["greedy_ids"])
        body = {"prompt": [1], "max_tokens": count, "temperature": 0, "ignore_eos": True, "logprobs": 0}
        answer = serve.json("/v1/completions", body)["choices"][0]
        assert answer["text"].strip() == GOLDEN["text"].strip(), answer["text"][:80]
        assert len(answer["logprobs"]["tokens"]) == count
        status, stream = serve.ask("POST", "/v1/completions", dict(body, stream=True))
        events = [line[6:] for line in stream.splitlines() if line.startswith("data: ")]
        assert status == 200 and events[-1] == "[DONE]", stream[-200:]
        assert "".join(json.loads(event)["choices"][0]["text"] for event in events[:-1]) == answer["text"]
        status, text = serve.ask("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]})
        assert status == 400 and "no chat format" in text, text
        assert serve.stop() == 0, serve.log


def many_at_once_same_text(shop):
    """Greedy text alone and in a full batch is the same, prefix cache on and off."""
    texts = []
    for options in ([], ["--no-prefix-caching", "--max-num-seqs", 3]):
        with Serve(shop, *options) as serve:
            bodies = [{"prompt": p * k, "max_tokens": 40, "temperature": 0} for p in ("Once upon a time ", "The dog ", "Lily ") for k in (1, 2, 5, 9)]
            alone = [serve.json("/v1/completions", body)["choices"][0]["text"] for body in bodies]
            together = [None] * len(bodies)

            def work(i):
                together[i] = serve.json("/v1/completions", bodies[i])["choices"][0]["text"]

            threads = [threading.Thread(target=work, args=(i,)) for i in range(len(bodies))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert together == alone
            texts.append(alone)
            assert serve.stop() == 0
    assert texts[0] == texts[1]


def option_table_and_log(shop):
    with Serve(shop, "--served-model-name", "stories", "--max-num-seqs", 7) as serve:
        for row in ("options in force", "stories", "max-num-seqs             7", "none asked for"):
            assert row in serve.log, serve.log
        secret = "xyzzy plugh"
        serve.json("/v1/completions", {"prompt": secret, "max_tokens": 3, "model": "stories"})
        serve.ask("GET", "/nothing")
        assert serve.stop() == 0
        assert "POST /v1/completions 200" in serve.log and "GET /nothing 404" in serve.log, serve.log
        assert "xyzzy" not in serve.log


def environment_and_file(shop):
    config = shop.folder / "serve.yaml"
    config.write_text("# a comment\nserved_model_name: from-file\nmax-num-seqs: 5\nmax_waiting: 9\ndisable-log-requests: true\n", encoding="utf-8")
    environment = {"QUERN_MAX_NUM_SEQS": "6", "QUERN_MAX_WAITING": "8"}
    with Serve(shop, "--config", config, "--max-waiting", 10, env=environment) as serve:
        assert re.search(r"max-waiting +10 ", serve.log), serve.log  # the command line
        assert re.search(r"max-num-seqs +6\n", serve.log), serve.log  # the environment
        assert re.search(r"served-model-name +from-file", serve.log), serve.log  # the file
        assert serve.stop() == 0
    other = shop.folder / "serve.json"
    other.write_text('{"served-model-name": ["a", "b"]}', encoding="utf-8")
    with Serve(shop, f"--config={other}") as serve:
        assert "a, b" in serve.log, serve.log
        assert serve.stop() == 0
    config.write_text("max-num-seq: 5\n", encoding="utf-8")
    status, text = shop.fails("--config", config)
    assert status == 2 and "max-num-seqs" in text, text


def keys(shop):
    key_file = shop.folder / "keys"
    key_file.write_text("# keys\nalpha\nbeta\n", encoding="utf-8")
    with Serve(shop, "--api-key-file", key_file, env={"QUERN_API_KEY": "gamma"}) as serve:
        assert serve.ask("GET", "/v1/models")[0] == 401
        for key in ("alpha", "beta", "gamma"):
            assert serve.ask("GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})[0] == 200, key
        assert serve.stop() == 0
        assert "alpha" not in serve.log and "gamma" not in serve.log, serve.log


def refused_starts(shop):
    status, text = shop.fails("--host", "0.0.0.0")
    assert status == 2 and "--insecure-no-auth" in text, text
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, text = shop.fails("--port", taken.getsockname()[1])
        assert status == 4 and "cannot listen" in text, text
    for options, says in ((["--port", 65536], "--port"), (["--port", "abc"], "--port"), (["--host", "nowhere"], "--host"),
                          (["--max-waitin", 3], "--max-waiting"), (["-np", 2], "use --parallel"), (["--lora-modules", "a=b"], "merge them"), (["--ssl-certfile", "x"], "--ssl-keyfile"),
                          (["--ssl-certfile", "/dev/null", "--ssl-keyfile", "/dev/null"], "--ssl-certfile")):
        status, text = shop.fails(*options)
        assert status == 2 and says in text, (options, status, text)


def signals(shop):
    """SIGTERM: what runs ends in full, or, when its time is over, with an error event and status 75."""
    for timeout, tokens, status in ((30, 200, 0), (0, 400, 75)):
        with Serve(shop, "--shutdown-timeout", timeout) as serve:
            connection = http.client.HTTPConnection("127.0.0.1", serve.port, timeout=60)
            body = {"prompt": "Once", "max_tokens": tokens, "ignore_eos": True, "stream": True, "n": 16, "temperature": 1}
            connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
            reply = connection.getresponse()
            reply.read(200)
            serve.process.send_signal(signal.SIGTERM)
            rest = reply.read().decode()
            assert serve.process.wait(60) == status, (serve.process.returncode, serve.log)
            assert rest.endswith("data: [DONE]\n\n") if status == 0 else '"code":"draining"' in rest.splitlines()[-2], rest[-300:]


def tls(shop):
    key, certificate = shop.folder / "key.pem", shop.folder / "cert.pem"
    made = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj",
                           "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"], capture_output=True, check=False)
    assert made.returncode == 0, made.stderr
    import ssl  # pylint: disable=import-outside-toplevel
    with Serve(shop, "--ssl-certfile", certificate, "--ssl-keyfile", key) as serve:
        context = ssl.create_default_context(cafile=str(certificate))
        connection = http.client.HTTPSConnection("127.0.0.1", serve.port, timeout=30, context=context)
        for _ in range(3):
            body = {"prompt": "Once", "max_tokens": 30, "stream": True}
            connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
            assert connection.getresponse().read().endswith(b"[DONE]\n\n")
        with socket.create_connection(("127.0.0.1", serve.port)) as plain:  # not TLS
            plain.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            plain.settimeout(15)
            assert b"200" not in plain.recv(1000)
        assert serve.stop() == 0


def idle_streams_are_small(shop):
    """1,000 idle connections cost less than 50 MiB."""
    def resident(pid):
        return int(re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")).group(1)) / 1024

    with Serve(shop) as serve:
        serve.ask("GET", "/health")
        before = resident(serve.process.pid)
        idle = [socket.create_connection(("127.0.0.1", serve.port)) for _ in range(1000)]
        for each in idle:
            each.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for each in idle:
            assert each.recv(1000).startswith(b"HTTP/1.1 200")
        grown = resident(serve.process.pid) - before
        for each in idle:
            each.close()
        print(f"  1,000 idle connections: {grown:.1f} MiB", flush=True)
        assert grown < 50 or "QUERN_SLOW" in os.environ, grown
        assert serve.stop() == 0


TESTS = [golden_text, many_at_once_same_text, option_table_and_log, environment_and_file, keys, refused_starts, signals, tls, idle_streams_are_small]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("quern")
    parser.add_argument("--only")
    options = parser.parse_args()
    tests = [test for test in TESTS if options.only in (None, test.__name__)]
    passed = 0
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(os.path.abspath(options.quern), folder)
        for test in tests:
            try:
                test(shop)
                passed += 1
                print(f"passed {test.__name__}", flush=True)
            except Exception as error:  # pylint: disable=broad-except
                print(f"FAILED {test.__name__}: {type(error).__name__}: {error}", flush=True)
    print(f"{passed} of {len(tests)}")
    return 0 if passed == len(tests) else 1


if __name__ == "__main__":
    sys.exit(main())
