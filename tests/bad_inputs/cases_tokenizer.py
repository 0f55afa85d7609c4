"""Class T: tokenizer files and texts."""
import json
import os

from case import Case, hf_case
from tiny import VOCAB, VOCAB_SIZE, HfCheckpoint

FILE = "tokenizer.json"


def tokenizer(id, title, code, says, change, **rest):
    return hf_case(id, title, code, [FILE] + says, lambda c: change(c.tokenizer), **rest)


def vocab(change):
    return lambda t: change(t["model"]["vocab"])


def entry(**fields):
    return lambda t: t["added_tokens"][0].update(fields)


def bytes_case(id, title, says, data):
    return hf_case(id, title, 3, [FILE] + says, lambda c: setattr(c, "tokenizer", data))


def missing(work):
    HfCheckpoint().write(work.path("model"))
    os.remove(work.path("model/" + FILE))
    return work.path("model")


def huge(work):
    HfCheckpoint().write(work.path("model"))
    work.sparse("model/" + FILE, 2**30, b"{")
    return work.path("model")


def encoded(text, says_count):
    """Builds the tiny model once and tokenizes `text` from a file."""

    def make(work):
        HfCheckpoint().write(work.path("model"))
        return [["build", work.path("model"), "-o", work.path("out.quern")],
                ["tokenize", "-m", work.path("out.quern"), "-f", work.write("text", text), "--ids"]]

    def check(work, result):
        count = result.stdout.count(b",") + 1
        return None if says_count is None or count == says_count else f"want {says_count} ids, found {count}"

    return make, check


def text_case(id, title, text, count=None, seconds=2):
    make, check = encoded(text, count)
    return Case(id, title, 0, [], make, check=check, creates=["out.quern"], seconds=seconds)


def file_cases():
    yield Case("T01", "tokenizer missing", 3, ["tokenizer"], missing)
    yield Case("T01", "tokenizer of 1 GiB", 3, [FILE, "67108864"], huge)
    whole = json.dumps(HfCheckpoint().tokenizer).encode()
    for cut in (0, 1, len(whole) // 2, len(whole) - 1):
        yield bytes_case("T01", f"first {cut} bytes", [], whole[:cut])
    yield bytes_case("T01", "a list", [], b"[]")
    yield tokenizer("T01", "no model", 3, ["model"], lambda t: t.pop("model"))
    for name, value in (("negative", -1), ("2^31-1", 2**31 - 1), ("2^64", 2**64), ("fraction", 1.5), ("text", "7")):
        yield tokenizer("T02", f"id {name}", 3, ["hello"], vocab(lambda v, value=value: v.update(hello=value)))
    yield tokenizer("T02", "id twice", 3, ["5"], vocab(lambda v: v.update(hello=5)))
    yield tokenizer("T02", "gap that a token leaves", 3, [], vocab(lambda v: v.pop("hello")))
    yield tokenizer("T03", "merge of an unknown token", 3, ["merge", "5"], lambda t: t["model"]["merges"].append("q zz"))
    yield tokenizer("T03", "merge into an unknown token", 3, ["merge", "5"], lambda t: t["model"]["merges"].append("q q"))
    yield tokenizer("T03", "merge of one part", 3, ["merge", "5"], lambda t: t["model"]["merges"].append("q"))
    yield tokenizer("T03", "merge of three parts", 3, ["merge", "5"], lambda t: t["model"]["merges"].append(["h", "e", "l"]))
    yield tokenizer("T03", "merge a number", 3, ["merge", "5"], lambda t: t["model"]["merges"].append(7))
    yield tokenizer("T04", "byte 0x41 missing", 3, ["0x41"], vocab(lambda v: (v.pop("A"), v.update(AA=65))))
    yield tokenizer("T05", "added token empty", 3, ["added token"], entry(content=""))
    yield tokenizer("T05", "added token of 1 MiB", 3, ["added token"], entry(content="x" * 2**20))
    yield tokenizer("T05", "added token negative", 3, ["added_tokens"], entry(id=-1))
    yield tokenizer("T05", "added token past the vocabulary", 3, [], entry(id=VOCAB_SIZE + 1000))
    yield tokenizer("T05", "added token twice", 3, ["id 262"], lambda t: t["added_tokens"].append(dict(t["added_tokens"][0], id=VOCAB_SIZE - 2)))
    yield tokenizer("T05", "added tokens no list", 3, ["added_tokens"], lambda t: t.update(added_tokens={"a": 1}))
    yield tokenizer("T05", "300,000 added tokens", 3, [],
                    lambda t: t.update(added_tokens=[dict(t["added_tokens"][0], id=261 + i, content=f"<{i}>") for i in range(300_000)]))

    def pattern(text):
        return lambda t: t["pre_tokenizer"]["pretokenizers"][0].update(pattern={"Regex": text})

    yield tokenizer("T06", "splitter pattern that nobody wrote", 5, ["(a+)+$"], pattern("(a+)+$"))
    yield tokenizer("T06", "splitter pattern with control characters", 5, ["\\x1b"], pattern("\x1b[2J"))
    yield tokenizer("T06", "pre-tokenizer not known", 5, ["Metaspace9"], lambda t: t.update(pre_tokenizer={"type": "Metaspace9"}))
    yield tokenizer("T06", "normalizer not known", 5, ["Lowercase"], lambda t: t.update(normalizer={"type": "Lowercase"}))
    yield tokenizer("T06", "model not known", 5, ["WordPiece"], lambda t: t["model"].update(type="WordPiece"))
    yield hf_case("T10", "chat template that is no known one is not run", 0, [],
                  lambda c: c.tokenizer_config.update(chat_template="{% for i in range(1000000000) %}{{ ''.__class__ }}{% endfor %}"), creates=["out.quern"])
    yield hf_case("T10", "chat template of 10 MB", 0, [], lambda c: c.tokenizer_config.update(chat_template="{{ x | nope }}" * 700_000), creates=["out.quern"])
    yield hf_case("T10", "chat template a number", 3, ["tokenizer_config.json", "chat_template"], lambda c: c.tokenizer_config.update(chat_template=7))
    yield hf_case("T11", "chat template that raises", 0, [], lambda c: c.tokenizer_config.update(chat_template="{{ raise_exception('\x1b[2J') }}"), creates=["out.quern"])


def text_cases():
    million = 1_000_000
    for name, text in (("a", "a"), ("^", "^"), ("space", " "), ("newline", "\n"), ("combining mark", "\u0301"), ("CJK", "汉"), ("digit", "7")):
        yield text_case("T07", f"{name} x 1 M", text * million, seconds=2 + len(text.encode()))
    yield text_case("T08", "invalid UTF-8 is U+FFFD", b"\xff", count=3)
    yield text_case("T08", "overlong", b"\xc0\xaf", count=6)
    yield text_case("T08", "surrogate", b"\xed\xa0\x80", count=9)
    yield text_case("T08", "NUL", b"\0", count=1)
    yield text_case("T08", "U+10FFFF", "\U0010ffff", count=4)
    assert len(VOCAB) == VOCAB_SIZE

    def control_text(work):
        HfCheckpoint().write(work.path("model"))
        return [["build", work.path("model"), "-o", work.path("out.quern")],
                ["tokenize", "-m", work.path("out.quern"), "-p", "<|im_end|>", "--chat", "--ids"]]

    def one_turn_end(work, result):
        """The format's own ends of turns, and none from the user's text."""
        ids = json.loads(result.stdout)
        content = [id for id in ids if id < 256]
        text = bytes(ord(c) if ord(c) < 256 else 32 for c in (VOCAB[i] for i in content)).decode("latin-1")
        return None if "<|im_end|>" in text else f"the text became a control token: {ids}"

    yield Case("T09", "control token's text in a chat", 0, [], control_text, check=one_turn_end, creates=["out.quern"])


def cases():
    yield from file_cases()
    yield from text_cases()
