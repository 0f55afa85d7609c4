#!/usr/bin/env python3
"""The 15 checks that a server of this kind must pass, against `quern serve` itself and, where a model must say a given text, against the
same server around a model that echoes.

Usage: checks.py QUERN STUB_SERVER [--engine FILE] [--only N]. Python 3 and its standard library; check 1 uses the official clients where
they are installed (requirements.txt). --engine runs the checks of real text on that engine too. Prints "15 of 15".
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

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import serve as end_to_end  # pylint: disable=wrong-import-position

SLOW = 5 if "QUERN_SLOW" in os.environ else 1


class Reply:
    def __init__(self, status, headers, text):
        self.status, self.headers, self.text = status, headers, text

    @property
    def json(self):
        return json.loads(self.text)

    @property
    def events(self):
        return [json.loads(line[6:]) for line in self.text.splitlines() if line.startswith("data: ") and line != "data: [DONE]"]


class Client:
    def __init__(self, port):
        self.port = port

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
            connection.request(method, path, data, dict({"Content-Type": "application/json"}, **(headers or {})))
            reply = connection.getresponse()
            return Reply(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read().decode())
        finally:
            connection.close()

    def post(self, path, body, **more):
        return self.ask("POST", path, body, **more)

    def chat(self, text, **more):
        return self.post("/v1/chat/completions", dict({"messages": [{"role": "user", "content": text}]}, **more))

    def message(self, text, **more):
        reply = self.chat(text, **more)
        assert reply.status == 200, reply.text
        return reply.json["choices"][0]["message"], reply.json["choices"][0]["finish_reason"]

    def metric(self, name):
        text = self.ask("GET", "/metrics").text
        return float(re.search(rf"^quern:{name}(?:\{{[^}}]*\}})? ([0-9.e+-]+)$", text, re.M).group(1))

    def waits_until_idle(self, seconds):
        """Seconds until nothing runs, waits or holds a KV block."""
        start = time.monotonic()
        while time.monotonic() < start + seconds:
            if self.metric("num_requests_running") == 0 == self.metric("num_requests_waiting") and self.metric("kv_cache_usage_perc") == 0:
                return time.monotonic() - start
            time.sleep(0.002)
        raise AssertionError("something still runs")


class Stub(Client):
    """A server around the echo model; options are those of stub_server.cpp."""

    def __init__(self, program, *options):
        self.process = subprocess.Popen([program, *map(str, options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        super().__init__(int(self.process.stdout.readline()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        assert self.process.wait(30) == 0


def streamed(client, text, **more):
    """What the pieces of a stream come to, as a message."""
    reply = client.chat(text, stream=True, **more)
    assert reply.status == 200 and reply.text.endswith("data: [DONE]\n\n"), reply.text[-300:]
    message, finish = {"content": "", "reasoning": "", "tool_calls": {}}, None
    assert reply.events[0]["choices"][0]["delta"]["role"] == "assistant"
    for event in reply.events:
        for choice in event["choices"]:
            delta = choice["delta"]
            message["content"] += delta.get("content") or ""
            message["reasoning"] += delta.get("reasoning") or ""
            for part in delta.get("tool_calls") or []:
                call = message["tool_calls"].setdefault(part["index"], {"name": "", "arguments": ""})
                call["name"] += part["function"].get("name") or ""
                call["arguments"] += part["function"].get("arguments") or ""
            finish = choice["finish_reason"] or finish
    return message, finish


def whole(message):
    calls = {i: {"name": call["function"]["name"], "arguments": call["function"]["arguments"]} for i, call in enumerate(message.get("tool_calls", []))}
    return {"content": message["content"] or "", "reasoning": message.get("reasoning", ""), "tool_calls": calls}


class Checks:
    def __init__(self, shop, stub, engine):
        self.shop, self.stub, self.engine, self.note = shop, stub, engine, ""

    def serve(self, *options, **more):
        return end_to_end.Serve(self.shop, *options, **more)

    def check_1(self):
        """Official clients."""
        program = pathlib.Path(__file__).with_name("clients.py")
        result = subprocess.run([sys.executable, program, self.stub], capture_output=True, text=True, timeout=300 * SLOW, check=False)
        self.note = "clients: " + result.stdout.strip().splitlines()[-1]
        assert result.returncode in (0, 77), result.stdout + result.stderr
        with Stub(self.stub) as stub:  # what the clients rely on, on the wire
            body = {"model": "echo", "max_tokens": 20, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
            text = stub.post("/v1/messages", body).text
            names = re.findall(r"^event: (.*)$", text, re.M)
            assert names[0] == "message_start" and names[-1] == "message_stop", names
            start = json.loads(text.split("data: ", 1)[1].split("\n", 1)[0])
            assert start["message"]["usage"]["input_tokens"] > 0, start

    def check_2(self):
        """503 while loading, 429 on a full queue, 401 without a key, /health open, x-request-id everywhere."""
        for attempt in range(30):
            if self.sees_loading():
                break
            assert attempt < 29, "no 503 was seen while loading"
        keys = self.shop.folder / "check_keys"
        keys.write_text("secret-key\n", encoding="utf-8")
        with self.serve("--api-key-file", keys, "--max-num-seqs", 1, "--max-waiting", 17) as serve:
            client, headers = Client(serve.port), {"Authorization": "Bearer secret-key"}
            replies = [client.ask("GET", "/v1/models"), client.post("/v1/completions", {"prompt": "a"}), client.ask("GET", "/nothing")]
            assert [reply.status for reply in replies] == [401] * 3
            assert client.ask("GET", "/health").status == 200
            body = {"prompt": "Once", "max_tokens": 400, "ignore_eos": True, "stream": True}
            full = []
            threads = [threading.Thread(target=lambda: full.append(client.post("/v1/completions", dict(body, n=16, stream=False), headers=headers)))
                       for _ in range(24)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert {reply.status for reply in full} <= {200, 429}, [reply.status for reply in full]
            assert any(reply.status == 429 and reply.headers.get("retry-after") for reply in full), [reply.status for reply in full]
            replies += [client.ask("GET", "/v1/models", headers=headers), client.post("/v1/chat/completions", {}, headers=headers), *full]
            for reply in replies:
                assert reply.headers.get("x-request-id"), (reply.status, reply.headers)
            assert client.ask("GET", "/health", headers={"X-Request-Id": "mine-7"}).headers["x-request-id"] == "mine-7"

    def sees_loading(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        arguments = [self.shop.quern, "serve", self.shop.engine, "--port", str(port), "--device", "cpu"]
        process = subprocess.Popen(arguments, env=self.shop.environment, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                try:
                    reply = Client(port).ask("GET", "/health")
                except (ConnectionError, OSError, http.client.HTTPException):
                    continue
                if reply.status == 200:
                    return False
                assert reply.status == 503 and reply.headers.get("retry-after") and reply.headers.get("x-request-id"), reply.headers
                assert reply.json["error"]["message"] == "Loading model", reply.text
                return True
        finally:
            process.kill()
            process.wait()
        raise AssertionError("no answer")

    def check_3(self):
        """A prompt over the context is refused with both numbers before anything is computed, and never cut."""
        with self.serve() as serve:
            client = Client(serve.port)
            prompt = "Once upon a time " * 400
            count = client.post("/tokenize", {"prompt": prompt}).json["count"]
            for body in ({"prompt": prompt, "max_tokens": 5}, {"prompt": "Once", "max_tokens": 5000}):
                reply = client.post("/v1/completions", body)
                error = reply.json["error"]
                assert reply.status == 400 and error["code"] == "context_length_exceeded" and error["n_ctx"] == 512, reply.text
                assert error["n_prompt_tokens"] == (count if body["prompt"] == prompt else error["n_prompt_tokens"]), reply.text
            assert client.metric("prompt_tokens_total") == 0
            short = "Once upon a time " * 20
            counted = client.post("/tokenize", {"prompt": short}).json["count"]
            assert client.post("/v1/completions", {"prompt": short, "max_tokens": 1}).json["usage"]["prompt_tokens"] == counted

    def check_4(self):
        """Tool calls: {} without arguments; pieces joined are the answer without a stream, in both dialects."""
        tools = [{"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {
            "city": {"type": "string"}, "days": {"type": "integer"}, "where": {"type": "object"}}}}} for name in ("weather", "now")]
        texts = {
            "chatml-qwen3": ['<tool_call>\n{"name": "now"}\n</tool_call>', '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
                             'Let me look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Zürich 🏔 \\"x\\"", "days": 3}}\n</tool_call>\n'
                             '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'],
            "chatml-qwen3-coder": ["<tool_call>\n<function=now>\n</function>\n</tool_call>",
                                   "<function=now>\n</function>",
                                   "Let me look.\n<tool_call>\n<function=weather>\n<parameter=city>\nZürich 🏔 \"x\"\n</parameter>\n<parameter=days>\n3\n"
                                   "</parameter>\n<parameter=where>\n{\"a\": [1]}\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=now>\n"
                                   "</function>\n</tool_call>"]}
        for form, said in texts.items():
            with Stub(self.stub, 0.001, 8, 1024, 4096, form) as stub:
                for text in said:
                    message, finish = stub.message(text, tools=tools)
                    assert finish == "tool_calls", (form, text, message)
                    assert (whole(message), finish) == streamed(stub, text, tools=tools), (form, text)
                    assert message["tool_calls"][-1]["function"] == {"name": "now", "arguments": "{}"}, message
                first = json.loads(message["tool_calls"][0]["function"]["arguments"])
                assert first["city"] == 'Zürich 🏔 "x"' and first["days"] == 3 and message["content"] == "Let me look.", message

    def check_5(self):
        """Thinking off: all is content. Thinking cut by max_tokens: all is reasoning."""
        with Stub(self.stub) as stub:
            message, finish = stub.message("Plain words.", chat_template_kwargs={"enable_thinking": False})
            assert (message["content"], finish) == ("Plain words.", "stop") and not message.get("reasoning"), message
            for call in (lambda **more: stub.message(**more), lambda **more: streamed(stub, more.pop("text"), **more)):
                message, finish = call(text="<think>\nA long thought that never ends.</think>\n\nYes.", max_tokens=12)
                assert finish == "length" and (message["content"] or "") == "" and message["reasoning"].startswith("A lon"), message

    def check_6(self):
        """Answers that fit a schema, with thinking on and off and with tools; white space has an end."""
        schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
                                                   "kind": {"enum": ["cat", "dog"]}, "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3}},
                  "required": ["name", "age", "kind", "tags"], "additionalProperties": False}
        form = {"type": "json_schema", "json_schema": {"name": "pet", "schema": schema, "strict": True}}

        def fits(text):
            value = json.loads(text)
            assert set(value) == set(schema["properties"]) and len(value["name"]) <= 12 and value["kind"] in ("cat", "dog"), text
            assert isinstance(value["age"], int) and 0 <= value["age"] <= 150 and all(isinstance(tag, bool) for tag in value["tags"]), text

        said = '{"name": "Tom", "age": 3, "kind": "cat", "tags": [true]}'
        with Stub(self.stub) as stub:
            fits(stub.message(said, response_format=form)[0]["content"])
            fits(stub.message(said, response_format=form, enable_thinking=False)[0]["content"])
            message, _ = stub.message("<think>\nfree {text}\n</think>\n\n" + said, response_format=form)
            fits(message["content"])
            assert message["reasoning"] == "free {text}", message
            tools = [{"type": "function", "function": {"name": "add", "parameters": schema}}]
            fits(stub.message(said, response_format=form, tools=tools, tool_choice="none")[0]["content"])
            call, finish = stub.message("no call at all", tools=tools, tool_choice="required", max_tokens=400)
            assert finish in ("tool_calls", "length") and call["tool_calls"][0]["function"]["name"] == "add", call
            spaces, finish = stub.message("{" + " " * 500, response_format={"type": "json_object"}, max_tokens=700)
            assert not re.search(r"[ \n]{19}", re.sub(r'"[^"]*("|$)', "", spaces["content"])), spaces
        with self.serve() as serve:
            client = Client(serve.port)
            for seed in range(12):
                body = {"prompt": "A pet: ", "max_tokens": 400, "temperature": 1, "seed": seed, "structured_outputs": {"json": schema}}
                choice = client.post("/v1/completions", body).json["choices"][0]
                assert choice["finish_reason"] == "stop", choice
                fits(choice["text"])
        self.on_engine(lambda client: [fits(client.message("Describe a pet as JSON.", response_format=form, temperature=1, seed=seed)[0]["content"])
                                       for seed in range(4)])

    def check_7(self):
        """Thinking budgets."""
        thought = "<think>\n" + "Hm. " * 40 + "\n</think>\n\nYes."
        with Stub(self.stub) as stub:
            for budget, reasoning in ((0, 0), (10, 10), (-1, 150)):
                message, finish = stub.message(thought, thinking_token_budget=budget, max_tokens=600)
                assert finish == "stop" and message["content"], message
                assert "</think>" not in message["reasoning"] if message.get("reasoning") else True
                plain = (message.get("reasoning") or "").replace("Considering the limited time, I will answer now.", "")
                assert reasoning <= len(plain.strip()) + 4 and (budget < 0 or len(plain.strip()) <= reasoning), (budget, message)
                assert (whole(message), finish) == streamed(stub, thought, thinking_token_budget=budget, max_tokens=600)

    def check_8(self):
        """Logits that are not finite end that request with an error."""
        with Stub(self.stub, 0.002) as stub:
            neighbour = {}
            thread = threading.Thread(target=lambda: neighbour.update(stub.message("x" * 300)[0]))
            thread.start()
            reply = stub.chat("not a number")
            assert reply.status == 500 and reply.json["error"]["code"] == "numerical_error" and reply.headers["x-should-retry"] == "false", reply.text
            stream = stub.chat("not a number", stream=True)
            assert stream.events[-1]["error"]["code"] == "numerical_error" and "[DONE]" not in stream.text, stream.text
            thread.join()
            assert neighbour["content"] == "x" * 300
            stub.waits_until_idle(5)

    def check_9(self):
        """The same greedy text alone and in a full batch, prefix cache on and off."""
        end_to_end.many_at_once_same_text(self.shop)
        self.note = "no speculation in this version"

    def check_10(self):
        """Emoji and CJK at every byte."""
        text = "a👩‍🚀b你好，世界é🏳️‍🌈\u0301∑𝔘"
        with Stub(self.stub, 0.001) as stub:
            assert stub.message(text)[0]["content"] == text
            reply = stub.chat(text, stream=True, logprobs=True, top_logprobs=1)
            joined, tokens = "", b""
            for event in reply.events:
                joined += event["choices"][0]["delta"].get("content") or ""
                for token in (event["choices"][0].get("logprobs") or {}).get("content") or []:
                    tokens += bytes(token["bytes"])
            assert joined == text and "\ufffd" not in joined and tokens == text.encode(), (joined, tokens)
            for length in range(1, len(text.encode())):  # cut in the middle of characters
                cut = stub.message(text, max_tokens=length)[0]["content"]
                assert text.startswith(cut.removesuffix("\ufffd")), (length, cut)  # half a character at the very end is one U+FFFD

    def check_11(self):
        """A client that leaves takes its request with it: streams or not, in the queue, in prefill, in decode."""
        step = 0.02
        slowest = 0
        for stream in (True, False):
            for stage in ("queue", "prefill", "decode"):
                with Stub(self.stub, step, 1) as stub:
                    body = {"prompt": "abc" * (1200 if stage == "prefill" else 1), "max_tokens": 300, "stream": stream}
                    first = self.leaves_open(stub, body)
                    while stub.metric("num_requests_running") == 0:
                        time.sleep(0.001)
                    if stage == "queue":
                        second = self.leaves_open(stub, body)
                        while stub.metric("num_requests_waiting") == 0:
                            time.sleep(0.001)
                        second.close()
                        start = time.monotonic()
                        while stub.metric("num_requests_waiting") > 0:
                            assert time.monotonic() < start + 5
                        slowest = max(slowest, time.monotonic() - start)
                    if stage == "decode":
                        time.sleep(5 * step)
                    first.close()
                    slowest = max(slowest, stub.waits_until_idle(5))
        self.note = f"slowest {1000 * slowest:.0f} ms"
        assert slowest < (0.2 + step) * SLOW, slowest

    @staticmethod
    def leaves_open(client, body):
        data = json.dumps(body).encode()
        connection = socket.create_connection(("127.0.0.1", client.port))
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        return connection

    def check_12(self):
        """SIGTERM: new requests are refused, running ones end, or get an error event when their time is over."""
        end_to_end.signals(self.shop)
        with self.serve("--shutdown-timeout", 30) as serve:
            body = {"prompt": "Once", "max_tokens": 400, "ignore_eos": True, "stream": True, "n": 16, "temperature": 1}
            running = self.leaves_open(Client(serve.port), body)
            other = socket.create_connection(("127.0.0.1", serve.port))
            running.recv(1000)
            serve.process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
            other.settimeout(20)
            try:
                other.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                refused = other.recv(1000)
            except OSError:
                refused = b""
            assert b" 200 " not in refused.split(b"\r\n")[0], refused
            rest = b""
            while not rest.endswith(b"0\r\n\r\n") and (more := running.recv(65536)):
                rest += more
            assert b"data: [DONE]" in rest
            assert serve.process.wait(60) == 0

    def check_13(self):
        """No model with pooling is served: embeddings and scores are refused with the reason."""
        with self.serve() as serve:
            reply = Client(serve.port).post("/v1/embeddings", {"input": "x"})
            assert reply.status == 400 and "pooling" in reply.json["error"]["message"], reply.text
            assert Client(serve.port).post("/v1/rerank", {"query": "x", "documents": ["y"]}).status == 400
        self.note = "no pooling model: refused with the reason"

    def check_14(self):
        """The second turn reads only what is new: everything that both prompts begin with comes from the cache."""
        for thinking in (True, False):
            with Stub(self.stub) as stub:
                said = ("<think>\nHm.\n</think>\n\n" if thinking else "") + "An answer of some length, longer than a block of tokens."
                kwargs = {"enable_thinking": thinking, "preserve_thinking": True}
                messages = [{"role": "user", "content": said}]
                first = stub.post("/v1/chat/completions", {"messages": messages, "chat_template_kwargs": kwargs}).json
                answer = first["choices"][0]["message"]
                more = messages + [answer, {"role": "user", "content": "And then?"}]
                second = stub.post("/v1/chat/completions", {"messages": more, "chat_template_kwargs": kwargs}).json
                read = first["usage"]["total_tokens"] - 1  # the end token is in no block
                cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
                assert cached >= read // 16 * 16, (thinking, first["usage"], second["usage"])

    def check_15(self):
        """The planner's number against the peak of memory."""
        engine = self.engine or self.shop.engine
        plan = json.loads(subprocess.run([self.shop.quern, "plan", engine, "--device", "cpu", "--context", "512", "--max-num-seqs", "4", "--json"],
                                         capture_output=True, text=True, check=True, env=self.shop.environment).stdout)["total_bytes"]
        with end_to_end.Serve(self.shop, "--max-model-len", 512, "--max-num-seqs", 4, engine=engine) as serve:
            client = Client(serve.port)
            threads = [threading.Thread(target=client.post, args=("/v1/completions", {"prompt": "Once upon " * 60, "max_tokens": 300, "ignore_eos": True}))
                       for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if self.engine:  # with what masks over a real vocabulary take
                client.message("A pet as JSON.", response_format={"type": "json_object"}, max_tokens=40)
            status = pathlib.Path(f"/proc/{serve.process.pid}/status").read_text(encoding="utf-8")
            peak = int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024
        self.note = f"plan {plan / 2**20:.1f} MiB, peak {peak / 2**20:.1f} MiB"
        allowance = 0.03 * peak if self.engine else 24 * SLOW * 2**20  # of a tiny model the program itself is the most
        assert abs(plan - peak) <= allowance, self.note

    def on_engine(self, work):
        if self.engine is None:
            return
        with end_to_end.Serve(self.shop, "--max-model-len", 2048, engine=self.engine) as serve:
            work(Client(serve.port))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("quern")
    parser.add_argument("stub")
    parser.add_argument("--engine")
    parser.add_argument("--only", type=int)
    options = parser.parse_args()
    passed = 0
    numbers = [options.only] if options.only else range(1, 16)
    with tempfile.TemporaryDirectory() as folder:
        checks = Checks(end_to_end.Shop(os.path.abspath(options.quern), folder), os.path.abspath(options.stub), options.engine)
        for number in numbers:
            check = getattr(checks, f"check_{number}")
            checks.note, start = "", time.monotonic()
            try:
                check()
                passed += 1
                print(f"passed {number:2}  {check.__doc__} {checks.note} ({time.monotonic() - start:.1f} s)", flush=True)
            except Exception as error:  # pylint: disable=broad-except
                print(f"FAILED {number:2}  {check.__doc__} {type(error).__name__}: {error}", flush=True)
    print(f"{passed} of {len(numbers)}")
    return 0 if passed == len(numbers) else 1


if __name__ == "__main__":
    sys.exit(main())
