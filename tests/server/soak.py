#!/usr/bin/env python3
"""Many clients for a long time: some leave early, some send nonsense, and the KV pool is a fraction of what they ask for.

Usage: soak.py STUB_SERVER [--seconds N] [--clients N]. The model echoes what it reads through the block table, so that a lost, mixed or stale
block is a wrong text or ends the step. Counts on both sides must balance, nothing may be left behind, and memory may not grow. Python 3 and
its standard library. Prints what was counted; exit status 0 when all holds.
"""
import argparse
import asyncio
import json
import os
import pathlib
import random
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from checks import Stub  # pylint: disable=wrong-import-position

ALPHABET = "abcdefghijklmnopqrstuvwxyz éü你好😀"


class Counts:
    def __init__(self):
        self.sent = self.answered = self.refused = self.cancelled = self.wrong = self.lost = 0
        self.notes = []


class Client:
    def __init__(self, port, counts, seed):
        self.port, self.counts, self.random = port, counts, random.Random(seed)

    def request(self):
        """A body, and the text that must come back; None where a refusal must."""
        kind = self.random.random()
        if kind < 0.10:
            return self.random.choice([b"{", b'{"messages":[]}', b'{"messages":[{"role":"user","content":5}]}', b'{"messages":[{"role":"user","content":"x"}],"n":0}',
                                       b'{"messages":[{"role":"user","content":"' + b"x" * 9000 + b'"}]}', b'{"messages":[{"role":"user","content":"x"}],"grammar":"root ::= x"}']), None
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
        self.counts.sent += 1
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
                         b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
            if leaves:
                try:
                    await asyncio.wait_for(reader.read(self.random.randint(1, 2000)), self.random.random() * 0.5)
                except asyncio.TimeoutError:
                    pass
                self.counts.cancelled += 1
                return
            answer = await asyncio.wait_for(reader.read(-1), 120)
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
            await self.once()


def resident(pid):
    return int(re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")).group(1)) / 1024


async def watch(stub, end, samples):
    while time.monotonic() < end:
        samples.append((time.monotonic(), resident(stub.process.pid)))
        await asyncio.sleep(1)


async def drive(stub, options, counts, samples):
    end = time.monotonic() + options.seconds
    await asyncio.gather(watch(stub, end, samples), *[Client(stub.port, counts, seed).run(end) for seed in range(options.clients)])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("stub")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=128)
    options = parser.parse_args()
    counts, samples = Counts(), []
    with Stub(os.path.abspath(options.stub), 0.001, 32, 200, 2048) as stub:  # 200 blocks: about a tenth of what the clients ask for
        stub.waits_until_idle(5)
        time.sleep(0.5)  # the connection that asked is gone
        descriptors = len(os.listdir(f"/proc/{stub.process.pid}/fd"))
        asyncio.run(drive(stub, options, counts, samples))
        stub.waits_until_idle(30)
        time.sleep(0.5)
        left = len(os.listdir(f"/proc/{stub.process.pid}/fd")) - descriptors
        balance = {name: stub.metric(f"requests_{name}_total") for name in ("accepted", "completed", "cancelled", "failed")}
        preemptions = stub.metric("num_preemptions_total")
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
