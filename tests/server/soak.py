#!/usr/bin/env python3
"""Many clients for a long time: some leave early, some send nonsense, and the KV pool is a fraction of what they ask for.

Usage: soak.py STUB_SERVER [--seconds N] [--clients N] [--serve QUERN --engine FILE]. The stub's model echoes what it reads through the block
table, so that a lost, mixed or stale block is a wrong text or ends the step. With --engine `quern serve` answers greedily, and every answer
must be the text that the same prompt gave alone. Counts on both sides must balance, nothing may be left behind, and memory may not grow.
Python 3 and its standard library. Prints what was counted; exit status 0 when all holds.
"""
import argparse
import asyncio
import json
import os
import pathlib
import random
import re
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import serve as end_to_end  # pylint: disable=wrong-import-position
from checks import Client as Asker, Stub  # pylint: disable=wrong-import-position

BAD = [b"{", b'{"messages":[]}', b'{"messages":[{"role":"user","content":5}]}', b'{"messages":[{"role":"user","content":"x"}],"n":0}',
       b'{"messages":[{"role":"user","content":"' + b"x" * 9000 + b'"}]}', b'{"messages":[{"role":"user","content":"x"}],"grammar":"root ::= x"}']
ALPHABET = "abcdefghijklmnopqrstuvwxyz éü你好😀"


class Counts:
    def __init__(self):
        self.sent = self.answered = self.refused = self.cancelled = self.wrong = self.lost = 0
        self.notes = []


class Client:
    leaving_seconds = 0.5  # those who leave do so within this time

    def __init__(self, port, counts, seed):
        self.port, self.counts, self.random, self.pause = port, counts, random.Random(seed), 0

    def request(self):
        """A body, and the text that must come back; None where a refusal must."""
        kind = self.random.random()
        if kind < 0.10:
            return self.random.choice(BAD), None
        text = "".join(self.random.choice(ALPHABET) for _ in range(self.random.randint(5, 250))).strip() or "x"
        body = {"messages": [{"role": "user", "content": text}], "stream": self.random.random() < 0.6, "chat_template_kwargs": {"enable_thinking": False}}
        if self.random.random() < 0.1:
            body["n"] = 2
        if kind > 0.9:
            text = json.dumps({"a": self.random.randint(0, 99), "b": "x" * self.random.randint(0, 20)})
            body["messages"][0]["content"] = text
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "s", "schema": {
                "type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["a", "b"]}}}
        return json.dumps(body, ensure_ascii=False).encode(), text

    async def once(self):
        body, wanted = self.request()
        leaves = wanted is not None and self.random.random() < 0.22
        patience = self.random.random() * self.leaving_seconds
        self.counts.sent += 1
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
                         b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
            if leaves:
                try:
                    await asyncio.wait_for(reader.read(self.random.randint(1, 2000)), patience)
                except asyncio.TimeoutError:
                    pass
                self.counts.cancelled += 1
                return
            answer = await asyncio.wait_for(reader.read(-1), 300)
            self.judge(answer, wanted, body)
        except (ConnectionError, asyncio.TimeoutError) as error:
            self.counts.lost += 1
            self.counts.notes.append(f"{type(error).__name__}: {error}")
        finally:
            writer.close()

    def judge(self, answer, wanted, body):
        head, _, rest = answer.partition(b"\r\n\r\n")
        status = int(head.split()[1]) if head.startswith(b"HTTP/1.1 ") else 0
        if status in (429, 503) or (status == 400 and wanted is None):
            self.counts.refused += 1
            self.pause = 1 + self.random.random() if status != 400 else 0  # as Retry-After says
            return
        if status != 200 or wanted is None:
            self.counts.lost += 1
            self.counts.notes.append(f"{status} for {body[:100]}: {rest[:200]}")
            return
        if b"text/event-stream" in head:
            text = re.sub(rb"\r\n[0-9a-f]+\r\n", b"", b"\r\n" + rest).decode(errors="replace")
            texts = {}
            for line in text.split("\n"):
                if line.startswith("data: {"):
                    for choice in json.loads(line[6:])["choices"]:
                        texts[choice["index"]] = texts.get(choice["index"], "") + (choice["delta"].get("content") or "")
            texts = list(texts.values())
        else:
            texts = [choice["message"]["content"] for choice in json.loads(rest)["choices"]]
        self.counts.answered += 1
        if any(text != wanted for text in texts) or not texts:
            self.counts.wrong += 1
            self.counts.notes.append(f"want {wanted!r}, found {texts!r}")

    async def run(self, end):
        while time.monotonic() < end:
            self.pause = 0
            await self.once()
            await asyncio.sleep(self.pause)


class GreedyClient(Client):
    """Asks a real model what it was asked alone before."""
    known = []  # (messages, text)
    leaving_seconds = 20

    @classmethod
    def learn(cls, asker, count):
        pick, words = random.Random(1), "river stone cloud python engine seven paper the and of because write list C++ 你好 number ocean".split()
        for i in range(count):
            text = f"{i}: " + " ".join(pick.choice(words) for _ in range(pick.randint(3, 120)))
            cls.known.append(([{"role": "user", "content": text}], asker.message(text, **cls.fields(i))[0]["content"]))

    @staticmethod
    def fields(i):
        return {"temperature": 0, "max_tokens": 16 + i * 13 % 97}

    def request(self):
        if self.random.random() < 0.10:
            return self.random.choice(BAD), None
        i = self.random.randrange(len(self.known))
        messages, text = self.known[i]
        body = dict(self.fields(i), messages=messages, stream=self.random.random() < 0.6)
        if self.random.random() < 0.1:
            body["n"] = 2
        return json.dumps(body, ensure_ascii=False).encode(), text


def resident(pid):
    return int(re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")).group(1)) / 1024


async def watch(stub, end, samples):
    while time.monotonic() < end:
        samples.append((time.monotonic(), resident(stub.process.pid)))
        await asyncio.sleep(1)


async def drive(client, stub, options, counts, samples):
    end = time.monotonic() + options.seconds
    await asyncio.gather(watch(stub, end, samples), *[client(stub.port, counts, seed).run(end) for seed in range(options.clients)])


class Served(Asker):
    """`quern serve` on an engine file, its KV cache about a tenth of what the clients ask for."""

    def __init__(self, options, folder):
        shop = end_to_end.Shop(os.path.abspath(options.serve), folder)
        self.serve = end_to_end.Serve(shop, "--max-model-len", 512, "--max-num-seqs", 32, "--kv-cache-memory-bytes", options.kv_cache_bytes, "--queue-timeout", 600,
                                      "--disable-log-requests", engine=options.engine)
        super().__init__(self.serve.port)

    @property
    def process(self):
        return self.serve.process

    def __enter__(self):
        self.serve.__enter__()
        return self

    def __exit__(self, *details):
        self.serve.__exit__(*details)


def soak(server, client, options, counts, samples):
    """What is left behind, and the server's own counts."""
    with server as stub:
        if client is GreedyClient:
            GreedyClient.learn(stub, 48)
        stub.waits_until_idle(5)
        time.sleep(0.5)  # the connection that asked is gone
        descriptors = len(os.listdir(f"/proc/{stub.process.pid}/fd"))
        asyncio.run(drive(client, stub, options, counts, samples))
        stub.waits_until_idle(60)
        time.sleep(0.5)
        left = len(os.listdir(f"/proc/{stub.process.pid}/fd")) - descriptors
        balance = {name: stub.metric(f"requests_{name}_total") for name in ("accepted", "completed", "cancelled", "failed")}
        return left, balance, stub.metric("num_preemptions_total")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("stub")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=128)
    parser.add_argument("--serve")
    parser.add_argument("--engine")
    parser.add_argument("--kv-cache-bytes", type=int, default=24 << 20)
    options = parser.parse_args()
    counts, samples = Counts(), []
    if options.engine:
        with tempfile.TemporaryDirectory() as folder:
            left, balance, preemptions = soak(Served(options, folder), GreedyClient, options, counts, samples)
    else:  # 200 blocks: about a tenth of what the clients ask for
        left, balance, preemptions = soak(Stub(os.path.abspath(options.stub), 0.001, 32, 200, 2048), Client, options, counts, samples)
    third = len(samples) // 3
    warm = max(size for _, size in samples[third:2 * third]) if third else 0
    last = max(size for _, size in samples[2 * third:])
    growth = 100 * (last - warm) / warm if warm else 0
    print(f"sent {counts.sent} = answered {counts.answered} + refused {counts.refused} + cancelled {counts.cancelled}; lost {counts.lost}, wrong {counts.wrong}; "
          f"preemptions {preemptions:.0f}; descriptors left {left}; memory {warm:.1f} to {last:.1f} MiB ({growth:+.2f} %)")
    print("server:", ", ".join(f"{name} {value:.0f}" for name, value in balance.items()))
    for note in counts.notes[:5]:
        print(" ", note)
    holds = counts.sent == counts.answered + counts.refused + counts.cancelled and counts.wrong == counts.lost == 0 and left <= 0
    holds = holds and balance["accepted"] == balance["completed"] + balance["cancelled"] + balance["failed"] and balance["failed"] == 0
    holds = holds and (growth <= 1 or options.seconds < 60)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
