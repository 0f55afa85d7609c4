#!/usr/bin/env python3
"""What a hostile or careless client may send: the HTTP and the JSON classes of the list of bad inputs, each with the answer that it must get.

Usage: bad_requests.py STUB_SERVER. Python 3 and its standard library. After every input the server still answers, and at the end nothing is
left behind. Prints "N of N" classes and the number of inputs.
"""
import json
import os
import pathlib
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from checks import Stub  # pylint: disable=wrong-import-position

SLOW_ONES = ("h01", "h02", "h15")  # these wait beside the others
SLOW = 5 if "QUERN_SLOW" in os.environ else 1
HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"prompt":"abc","max_tokens":2}'


def statuses(data):
    """The status lines of the answers in `data`, in order."""
    return [int(line.split()[1]) for line in data.split(b"\r\n") if line.startswith(b"HTTP/1.1 ") and len(line.split()) > 1]


class Bad:
    def __init__(self, stub):
        self.stub, self.inputs, self.lock = stub, 0, threading.Lock()

    def count(self, number=1):
        with self.lock:
            self.inputs += number

    def raw(self, data, timeout=5.0, wait_for_close=True):
        """Sends bytes; what comes back until the server closes, or until the time is over."""
        self.count()
        answer = b""
        with socket.create_connection(("127.0.0.1", self.stub.port)) as connection:
            connection.settimeout(timeout * SLOW)
            try:
                connection.sendall(data)
                while more := connection.recv(65536):
                    answer += more
                    if not wait_for_close and b"\r\n\r\n" in answer:
                        break
            except (TimeoutError, OSError):
                pass
        return answer

    def gets(self, data, wanted, timeout=2.0):
        got = statuses(self.raw(data, timeout))
        assert got[:1] and got[0] in (wanted if isinstance(wanted, tuple) else (wanted,)), (data[:120], got)

    def post(self, path, body, status=400, param=None, code=None):
        self.count()
        reply = self.stub.ask("POST", path, body)
        assert reply.status == status, (path, str(body)[:200], reply.status, reply.text[:300])
        if status == 200:
            return reply
        error = reply.json["error"]
        assert param is None or error["param"] == param, (str(body)[:200], reply.text[:300])
        assert code is None or error["code"] == code, (str(body)[:200], reply.text[:300])
        return reply

    def chat(self, param=None, status=400, code=None, **fields):
        body = dict({"messages": [{"role": "user", "content": "x"}], "max_tokens": 3}, **fields)
        return self.post("/v1/chat/completions", body, status, param, code)

    def complete(self, param=None, status=400, code=None, **fields):
        return self.post("/v1/completions", dict({"prompt": "abc", "max_tokens": 2}, **fields), status, param, code)

    # HTTP

    def h01_headers_that_never_end(self):
        with socket.create_connection(("127.0.0.1", self.stub.port)) as connection:
            self.count()
            connection.settimeout(1)
            start, answer = time.monotonic(), b""
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
            while time.monotonic() < start + 15 * SLOW:
                try:
                    connection.sendall(b"X")
                    more = connection.recv(1000)
                    answer += more
                    if not more:
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
            assert statuses(answer)[:1] == [408] and time.monotonic() - start < 13 * SLOW, answer

    def h15_a_pause(self):
        """A server that was stopped for longer than it lets clients wait has not lost them."""
        with Stub(os.path.abspath(sys.argv[1])) as stub, socket.create_connection(("127.0.0.1", stub.port)) as connection:
            self.count()
            connection.sendall(HEAD[:40])
            time.sleep(0.3)
            stub.process.send_signal(signal.SIGSTOP)
            time.sleep(10.5)
            stub.process.send_signal(signal.SIGCONT)
            time.sleep(0.3)  # its clocks are looked at before the rest comes
            connection.sendall(HEAD[40:] + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
            connection.settimeout(5 * SLOW)
            assert statuses(connection.recv(65536))[:1] == [200]

    def h02_bodies_that_never_end(self):
        answer = self.raw(HEAD + b"Content-Length: 1000\r\n\r\n{", 14)
        assert statuses(answer) == [408], answer

    def h03_large_heads(self):
        self.gets(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 65536 + b"\r\n\r\n", 431)
        self.gets(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 1000 + b"\r\n", 431)
        self.gets(b"GET /" + b"a" * 65536 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", (414, 431))

    def h04_large_bodies(self):
        self.gets(HEAD + b"Content-Length: 99999999999\r\n\r\n", 413)
        self.gets(HEAD + b"Content-Length: 40000000\r\n\r\n" + b" " * 1000, 413)
        self.gets(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + (b"800000\r\n" + b" " * 0x800000 + b"\r\n") * 5, 413, 10)

    def h05_chunk_sizes(self):
        for size in (b"-2", b"0x10", b"10000000000000000", b"g", b"", b" 5", b"5 ", b"FFFFFFFFFFFFFFFF"):
            self.gets(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\nabcde\r\n0\r\n\r\n", (400, 413))
        self.gets(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 100000, 400, 10)

    def h06_ambiguous_messages(self):
        for lines in (b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Content-Length: 5\r\nContent-Length: 6", b"Transfer-Encoding: chunked, gzip",
                      b"Content-Length: +5", b"Content-Length: 5\r\n folded: yes", b"Content-Length : 5", b"Content-Length: 5, 5, 6", b"Transfer-Encoding: xchunked"):
            self.gets(HEAD + lines + b"\r\n\r\n{}   ", (400, 501))
        self.gets(b"GET /health HTTP/1.1\nHost: localhost\n\n", 400)
        self.gets(b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", (400, 403))
        self.gets(b"GET /health HTTP/1.1\r\n\r\n", (400, 403))

    def h07_encoded_bodies(self):
        for encoding in (b"gzip", b"br", b"deflate, gzip"):
            self.gets(HEAD + b"Content-Encoding: " + encoding + b"\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY, 415, 1)

    def h08_other_protocols(self):
        for data in (b"GET /health\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes.fromhex("16030100c8010000c40303") + bytes(200), bytes(range(256)) * 4, b"\r\n\r\n\r\n",
                     b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n", b"\0" * 1000):
            got = statuses(self.raw(data, 1))
            assert not got or got[0] in (400, 408, 414, 431, 505), (data[:40], got)

    def h09_expect_pipelines_upgrades(self):
        answer = self.raw(HEAD + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)
        assert statuses(answer) in ([100, 200], [200]), answer  # the body came with the head
        one = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
        answer = self.raw(one * 99 + one.replace(b"Host", b"Connection: close\r\nHost"))
        assert answer.count(b"HTTP/1.1 200 OK\r\n") == 100, answer.count(b"HTTP/1.1 200")
        self.gets(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n", 200)

    def h10_paths(self):
        for path in (b"//v1/..%2fmodels", b"/v1/models%00", b"/v1%2fmodels", b"/v1/../v1/models", b"/v1/models/../models", b"*", b"/%zz", b"/v1/models/%00"):
            self.gets(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", (400, 404))
        self.gets(b"GET /a\0b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400)

    def h11_foreign_hosts(self):
        for host in (b"evil.example", b"127.0.0.1.evil.example"):
            self.gets(b"GET /v1/models HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n", (400, 403))
        self.gets(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nConnection: close\r\n\r\n", 403)

    def h12_strange_keys(self):
        for value in (b"Bearer ", b"Basic x", b"Bearer \xff\xfe", b"Bearer a\r\nAuthorization: Bearer b"):  # without keys none is asked for
            got = statuses(self.raw(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: " + value + b"\r\n\r\n", 1))
            assert got and got[0] in (200, 400, 401), (value, got)
        self.gets(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + b"a" * 2**20 + b"\r\n\r\n", 431)

    def h13_echoed_values(self):
        answer = self.raw(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Request-Id: a\x01b\r\n\r\n", 1)
        assert b"\x01" not in answer.split(b"\r\n\r\n")[0], answer
        reply = self.post("/v1/chat/completions", {"model": "a\r\nX-Evil: 1\u0007", "messages": []}, 404)
        assert "x-evil" not in reply.headers and "\u0007" not in reply.text

    def h14_many_connections(self):
        idle = []
        try:
            for i in range(300):
                idle.append(socket.create_connection(("127.0.0.1", self.stub.port)))
                if i % 2:
                    idle[-1].sendall(b"GET /heal")
            self.count(300)
            assert self.stub.ask("GET", "/health").status == 200
        finally:
            for each in idle:
                each.close()

    def h16_targets_with_a_host(self):
        tail = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        for target, wanted in ((b"http://localhost/livez", 200), (b"HTTP://127.0.0.1:1/livez?x", 200), (b"http://evil.example/livez", 403), (b"http:///livez", 400),
                               (b"http://localhost@evil.example/livez", 400), (b"ftp://localhost/livez", 404), (b"http://localhost//livez", 404)):
            self.gets(b"GET " + target + tail, wanted)
        self.gets(b"CONNECT localhost:80" + tail, 404)

    def h17_ends_of_chunked_bodies(self):
        head = HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n%x\r\n" % len(BODY) + BODY + b"\r\n"
        self.gets(head + b"0\r\nX-Trailer: a\r\nContent-Length: 5\r\n\r\n", 200)
        self.gets(head + b"0\r\n" + b"X: a\r\n" * 20000 + b"\r\n", 400)
        self.gets(head.replace(b"\r\n{", b";" + b"a" * 100000 + b"\r\n{") + b"0\r\n\r\n", 400)

    def h18_replies_without_bodies(self):
        for path in (b"/livez", b"/v1/models", b"/", b"/nothing"):
            answer = self.raw(b"HEAD " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 2)
            assert answer.endswith(b"\r\n\r\n") and answer.count(b"\r\n\r\n") == 1, answer[-200:]
        answer = self.raw(HEAD + b"Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n", 2)
        assert statuses(answer) == [413], answer  # the body is never asked for

    # JSON

    def j01_no_json(self):
        bodies = [b"", b"{", b"[]", b'{"prompt":NaN}', b"[" * 5000000, b'{"prompt":"a"} x', b'{"prompt":"\xb2\xe2"}', b"\xef\xbb\xbf{}x", b"nul", b'{"prompt":"a",}',
                  b'{"prompt":"\\ud800"}', b'{"a":' * 100 + b"1" + b"}" * 100, b'{"prompt":1e999}', b"'a'", b'{"prompt":"a\nb"}', b"\0", b'{"prompt":"a","prompt":"b"}', b'{"prompt":"a","max_tokens":' + b"9" * 400 + b"}",
                  b'{"prompt":"\xc0\xaf"}', '{"prompt":"a"}'.encode("utf-16"), b'{"prompt":"a","max_tokens":02}']
        for body in bodies:
            answer = self.raw(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body, 10)
            assert statuses(answer)[:1] in ([400], [411]), (body[:40], answer[:300])
        self.post("/v1/completions", [1], 400)

    def j02_messages(self):
        for messages, param in (([], "messages"), (None, "messages"), ("x", "messages"), ([{"role": "user", "content": "x"}] * 4097, "messages"), ([1], None),
                                ([{"role": "robot", "content": "x"}], "messages[0].role"), ([{"role": "user"}], "messages[0].content"),
                                ([{"role": "user", "content": None}], "messages[0].content"), ([{"role": "user", "content": 5}], "messages[0].content"),
                                ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/x"}}]}], None),
                                ([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}], None)):
            self.chat(param, messages=messages)

    def j03_prompts(self):
        for prompt in ("", [], [""], [-1], [10**9], [2**53 + 1], [1, "a"], ["a", 1], [[1], []], {"a": 1}, 5, True, [1.5], [None], ["a"] * 129):
            self.complete(None, prompt=prompt)

    def j04_models(self):
        for model in ("other", "", "../../etc/passwd", "a" * 100000):
            self.complete("model", 404, "model_not_found", model=model)
        self.complete("model", 400, model=5)

    def j05_max_tokens(self):
        for value in (0, -1, 1.5, 2**31, "10", [], 2**63, True):
            self.complete(None, max_tokens=value)
        self.complete("max_tokens", 400, "context_length_exceeded", max_tokens=100000)
        self.complete(None, 200, max_tokens=0, echo=True)

    def j06_sampling(self):
        for name, values in (("temperature", (-1, 3, 1e308, "1")), ("top_p", (0, 2, -1)), ("top_k", (-2, 1.5)), ("min_p", (5, -1)), ("presence_penalty", (1e9, -3)),
                             ("frequency_penalty", (3,)), ("repetition_penalty", (0, -1, 1e9))):
            for value in values:
                self.complete(name, **{name: value})
        self.complete(None, 200, temperature=1e-40)

    def j07_seeds(self):
        for seed in (2**64, 1.5, "1"):
            self.complete("seed", seed=seed)
        self.complete(None, 200, seed=-1)

    def j08_counts(self):
        for fields in ({"n": 0}, {"n": 10**6}, {"n": -1}, {"n": 3, "best_of": 2}, {"best_of": 100}):
            self.complete(None, **fields)

    def j09_logprobs(self):
        for value in (-1, 21, 10**6, 1.5, "5"):
            self.complete("logprobs", logprobs=value)
            self.chat("top_logprobs", logprobs=True, top_logprobs=value)
        self.chat("top_logprobs", top_logprobs=3)
        self.complete("prompt_logprobs", prompt_logprobs=21)

    def j10_logit_bias(self):
        for bias in ({"99999999": 1}, {"abc": 1}, {"1": "x"}, {"1": 1e9}, {str(i): 1 for i in range(2000)}, [], {"-1": 1}, {"1.5": 1}):
            self.complete(None, logit_bias=bias)

    def j11_stops(self):
        for stop in ("", [""], ["a"] * 17, "a" * 300, 5, [5], {"a": 1}):
            self.complete(None, stop=stop)
        for ids in ([-1], [10**9], "x", [1.5]):
            self.complete(None, stop_token_ids=ids)

    def j12_schemas(self):
        deep = {}
        for _ in range(40):
            deep = {"type": "array", "items": deep}
        schemas = [{"type": "robot"}, {"$ref": "#"}, {"$ref": "http://127.0.0.1:1/x"}, deep, {"type": "string", "pattern": "(a)\\1"}, {"not": {}}, 5, [],
                   {"enum": list(range(6000))}, {"properties": {str(i): {} for i in range(1001)}}, {"type": "string", "pattern": "(((a{4000}){4000}){4000})"},
                   {"enum": []}, {"type": "object", "properties": {"a": {"unknownKeyword": 1}}}, {"x": "a" * 70000}]
        for schema in schemas:
            self.chat(response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": schema}})
        for form in ({"type": "xml"}, {}, 5, {"type": "json_schema"}, {"type": "json_schema", "json_schema": {"name": "bad name", "schema": {}}}):
            self.chat(response_format=form)
        start = time.monotonic()
        self.chat(None, 200, response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "string", "pattern": "^(a+)+$"}}})
        assert time.monotonic() - start < 2 * SLOW
        for regex in ("(", "", "a" * 20000, "(?=a)", 5):
            self.chat("structured_outputs.regex", structured_outputs={"regex": regex})

    def j13_grammars(self):
        for grammar in ("", "root ::= root", 'root ::= root "a" | "b"', "root ::= missing", "start: x", "root ::= (", 'x ::= "a"', "root ::= " + "(" * 500, 5):
            self.chat("structured_outputs.grammar", structured_outputs={"grammar": grammar})
            self.chat("grammar", grammar=grammar)

    def j14_tools(self):
        tool = {"type": "function", "function": {"name": "f"}}
        for tools in ([tool] * 129, [{"type": "function", "function": {"name": "a" * 2**20}}], [{"type": "function", "function": {"name": "a b"}}], [{"type": "x"}], 5, [5],
                      [{"type": "function"}], [{"type": "function", "function": {"name": "f", "parameters": 5}}]):
            self.chat(tools=tools)
        self.chat("tool_choice", tools=[tool], tool_choice={"type": "function", "function": {"name": "g"}})
        self.chat("tool_choice", tools=[tool], tool_choice="maybe")
        self.chat("tool_choice", tool_choice="required")

    def j15_template_arguments(self):
        for name in ("messages", "tools", "add_generation_prompt", "tokenize"):
            self.chat(f"chat_template_kwargs.{name}", chat_template_kwargs={name: 1})
        self.chat(None, chat_template_kwargs=5)

    def j16_streams(self):
        self.chat("stream", stream="yes")
        self.chat("stream_options", stream_options={"include_usage": True})

    def j17_unknown_fields(self):
        for path, body in (("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}), ("/v1/completions", {"prompt": "a"}),
                           ("/tokenize", {"prompt": "a"}), ("/v1/messages", {"max_tokens": 2, "messages": [{"role": "user", "content": "x"}]}),
                           ("/v1/responses", {"input": "x"})):
            reply = self.post(path, dict(body, frobnicate=1), 200)
            assert "frobnicate" in reply.headers.get("x-quern-ignored", ""), (path, reply.headers)


def main():
    passed, failures = 0, []
    names = sorted(name for name in dir(Bad) if name[0] in "hj" and name[1:3].isdigit())
    with Stub(os.path.abspath(sys.argv[1])) as stub:
        bad = Bad(stub)

        def run(name):
            nonlocal passed
            try:
                getattr(bad, name)()
                assert stub.ask("GET", "/health").status == 200
                passed += 1
            except Exception as error:  # pylint: disable=broad-except
                failures.append(f"FAILED {name}: {type(error).__name__}: {error}")

        slow = [threading.Thread(target=run, args=(name,)) for name in names if name.startswith(SLOW_ONES)]
        for thread in slow:
            thread.start()
        for name in names:
            if not name.startswith(SLOW_ONES):
                run(name)
        for thread in slow:
            thread.join()
        stub.waits_until_idle(10)
    print("\n".join(failures) + "\n" if failures else "", end="")
    print(f"{passed} of {len(names)} classes, {bad.inputs} inputs")
    return 0 if passed == len(names) else 1


if __name__ == "__main__":
    sys.exit(main())
