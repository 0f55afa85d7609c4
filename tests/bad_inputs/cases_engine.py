"""Class E: engine files, and builds onto a disk that does not help."""
import json
import os
import random
import signal
import subprocess
import struct
import time

from case import Case
from cases_command_line import endless, wait_for_output
from tiny import HfCheckpoint
from xxh3 import xxh3_64

CHECKSUM = "quern.header_xxh3"
READERS = (["info"], ["verify"], ["run", "-p", "hello", "-n", "2", "--temp", "0", "-m"], ["tokenize", "-p", "hello", "-m"])


class EngineBytes:
    """A good engine file's parts, to be changed and put together again."""

    def __init__(self, data):
        (size,) = struct.unpack_from("<Q", data)
        self.text, self.data = data[8 : 8 + size], data[8 + size :]
        self.header = json.loads(self.text)

    def metadata(self, key, change):
        texts = self.header["__metadata__"]
        texts["quern." + key] = json.dumps(change(json.loads(texts["quern." + key])))

    def bytes(self):
        """The header is padded to its old size, so that offsets and alignment stay, and its checksum is made right, as an attacker would."""
        self.header["__metadata__"][CHECKSUM] = "0" * 16
        text = json.dumps(self.header, separators=(",", ":")).encode()
        size = max(len(self.text), len(text) + -(len(text) + 8) % 256)
        head = struct.pack("<Q", size) + text.ljust(size)
        return head.replace(b"0" * 16, b"%016x" % xxh3_64(head), 1) + self.data


def engine(work):
    """A built tiny engine; the runner makes it once."""
    return work.good_engine


def mutated(id, title, code, says, change, readers=READERS):
    """change(bytes) -> bytes of the broken engine; one case a reader."""
    for reader in readers:

        def make(work, reader=reader):
            return [reader + [work.write("broken.quern", change(engine(work)))]]

        yield Case(id, f"{title}: {reader[0]}", code, ["broken.quern"] + says, make)


def header_change(change):
    def apply(data):
        parts = EngineBytes(data)
        change(parts)
        return parts.bytes()

    return apply


def flip(seed):
    def apply(data):
        place = random.Random(seed).randrange(len(data) * 8)
        changed = bytearray(data)
        changed[place // 8] ^= 1 << (place % 8)
        return bytes(changed)

    return apply


def flip_in_a_tensor(seed):
    def apply(data):
        parts, choice = EngineBytes(data), random.Random(seed)
        names = sorted(name for name in parts.header if name != "__metadata__" and not name.startswith("__pad"))
        begin, end = parts.header[choice.choice(names)]["data_offsets"]
        place = (len(data) - len(parts.data)) * 8 + choice.randrange(begin * 8, end * 8)
        changed = bytearray(data)
        changed[place // 8] ^= 1 << (place % 8)
        return bytes(changed)

    return apply


def first_weight(parts):
    return next(name for name, entry in parts.header.items() if name != "__metadata__" and not name.startswith("__pad"))


def damaged():
    yield from mutated("E01", "0 bytes", 3, ["empty"], lambda d: b"")
    for share in (1e-5, 0.01, 0.3, 0.7, 0.999):
        yield from mutated("E01", f"cut at {share}", 3, [], lambda d, s=share: d[: max(int(len(d) * s), 1)])
    yield from mutated("E01", "last byte missing", 3, [], lambda d: d[:-1])
    yield from mutated("E01", "one byte more", 3, [], lambda d: d + b"\0")
    for seed in range(40):
        yield from mutated("E01", f"bit flip {seed}", 3, [], flip(seed), readers=[["verify"]])
    for seed in range(10):
        yield from mutated("E01", f"bit flip in a tensor {seed}", 3, ["checksum"], flip_in_a_tensor(seed),
                           readers=[["run", "-p", "hello", "-n", "2", "-m"]])


def foreign():
    verify = [["info"], ["run", "-p", "x", "-m"]]
    yield from mutated("E02", "GGUF's magic in its length", 3, ["header length"], lambda d: b"GGUF" + d[4:], readers=[["verify"]])
    yield from mutated("E02", "GGUF's magic in its length", 5, ["GGUF version"], lambda d: b"GGUF" + d[4:], readers=[["info"]])
    yield from mutated("E02", "a safetensors file that is no engine", 5, ["version 1"], lambda d: HfCheckpoint().file(), readers=[["info"], ["verify"]])
    yield from mutated("E02", "random bytes", 5, ["version 1"], lambda d: random.Random(1).randbytes(4096), readers=verify)

    def version(value):
        def change(parts):
            keys = [k for k in parts.header["__metadata__"] if "version" in k]
            parts.header["__metadata__"][keys[0]] = str(value)

        return header_change(change)

    for value in (0, 2, 999999):
        yield from mutated("E02", f"format version {value}", 5, [str(value), "1"], version(value), readers=verify)
    yield from mutated("E02", "format version a word", 3, [], version("new"), readers=verify)


def ranges():
    def offsets(change):
        def apply(parts):
            name = first_weight(parts)
            parts.header[name]["data_offsets"] = change(parts.header[name]["data_offsets"])

        return header_change(apply)

    readers = [["info"], ["run", "-p", "x", "-m"]]
    yield from mutated("E04", "end 2^64-1", 3, [], offsets(lambda o: [o[0], 2**64 - 1]), readers)
    yield from mutated("E04", "begin past end", 3, [], offsets(lambda o: [o[1] + 256, o[1]]), readers)
    yield from mutated("E04", "overlap with the next", 3, [], offsets(lambda o: [o[0], o[1] + 256]), readers)
    yield from mutated("E04", "not aligned", 3, [], offsets(lambda o: [o[0] + 1, o[1] + 1]), readers)

    def drop(parts):
        parts.header["renamed"] = parts.header.pop(first_weight(parts))

    yield from mutated("E04", "a tensor renamed", 3, [], header_change(drop), [["run", "-p", "x", "-m"]])
    for key, change in (("hidden_size", 64), ("num_layers", 2**31), ("head_dim", 0), ("vocab_size", 7)):
        yield from mutated("E04", f"model.{key} = {change}", 3, [],
                           header_change(lambda p, k=key, v=change: p.metadata("model", lambda m: m | {k: v})), [["run", "-p", "x", "-m"]])
    yield from mutated("E04", "chat format not known", 5, ["chatml-9"],
                       header_change(lambda p: p.metadata("chat", lambda m: {"format": "chatml-9"})), [["run", "-p", "x", "-m"]])
    yield from mutated("E04", "end token past the vocabulary", 3, [],
                       header_change(lambda p: p.metadata("generation", lambda m: m | {"eos_token_ids": [10**6]})), [["run", "-p", "x", "-m"]])


def source(work):
    HfCheckpoint().write(work.path("model"))
    return work.path("model")


def build(work, output, *more):
    return ["build", source(work), "-o", output, *more]


def older_engine(work):
    """An engine that stands where the new one would go."""
    return work.write("out.quern", engine(work))


def untouched(work, result):
    with open(work.path("out.quern"), "rb") as file:
        return None if file.read() == engine(work) else "the older engine was changed"


def onto_input(kind):
    def make(work):
        model = source(work)
        target = os.path.join(model, "model.safetensors")
        output = work.path("link.quern")
        if kind == "itself":
            output = target
        elif kind == "symlink":
            os.symlink(target, output)
        else:
            os.link(target, output)
        return ["build", model, "-o", output]

    def check(work, result):
        with open(work.path("model/model.safetensors"), "rb") as file:
            return None if file.read() == HfCheckpoint().file() else "the input was changed"

    return Case("E08", f"output is the input: {kind}", 2, ["same file"], make, check=check)


def writing():
    for kind in ("itself", "symlink", "hard link"):
        yield onto_input(kind)
    yield Case("E09", "a file may have 4 KiB (short write, EFBIG)", 4, ["out.quern"], lambda w: build(w, w.path("out.quern")), limits={"FSIZE": 4096})
    yield Case("E09", "the same, an older engine there", 4, ["out.quern"], lambda w: (older_engine(w), build(w, w.path("out.quern")))[1],
               limits={"FSIZE": 4096}, check=untouched)
    yield Case("E09", "output /dev/full", 4, [], lambda w: build(w, "/dev/full"))
    yield Case("E10", "output folder missing", 4, ["nowhere"], lambda w: build(w, w.path("nowhere/out.quern")))
    yield Case("E10", "output folder is a file", 4, ["file"], lambda w: (w.write("file", b"x"), build(w, w.path("file/out.quern")))[1])
    yield Case("E10", "output is a folder", 4, ["folder"], lambda w: (os.mkdir(w.path("folder")), build(w, w.path("folder")))[1])
    yield Case("E10", "output in /proc", 4, ["/proc"], lambda w: build(w, "/proc/out.quern"))

    def not_writable(work):
        arguments = build(work, work.path("locked/out.quern"))
        os.mkdir(work.path("locked"), 0o555)
        return arguments

    yield Case("E10", "output folder not writable", 4, ["locked"], not_writable, user=65534)

    def unreadable(work):
        path = work.write("secret.quern", engine(work))
        os.chmod(path, 0)
        return ["info", path]

    yield Case("E11", "engine unreadable", 4, ["secret.quern"], unreadable, user=65534)
    yield Case("E11", "engine missing", 4, ["nothing.quern"], lambda w: ["info", w.path("nothing.quern")])
    for name in ("run", "tokenize"):
        yield Case("E11", f"engine missing: {name}", 4, ["nothing.quern"], lambda w, n=name: [n, "-m", w.path("nothing.quern"), "-p", "x"])
    yield Case("E11", "engine a FIFO", 3, ["pipe"], lambda w: (os.mkfifo(w.path("pipe.quern")), ["info", w.path("pipe.quern")])[1])
    yield Case("E11", "engine a device", 3, ["/dev/zero"], lambda w: ["info", "/dev/zero"])

    def writable(work):
        path = work.write("shared.quern", engine(work))
        os.chmod(path, 0o664)
        return ["run", "-m", path, "-p", "hello", "-n", "1"]

    yield Case("E11", "engine that its group can write", 0, ["shared.quern", "664"], writable)


def interrupted():
    yield Case("E07", "leftovers of killed builds are removed by the next", 0, [], leftover, creates=["out.quern"], check=no_leftover)


def replaced():
    """The engine file changes while the program answers from it."""
    def cut(size):
        return lambda work, process: (wait_for_output(process), os.truncate(work.path("long.quern"), size))

    for size in (0, 5000):
        yield Case("E05", f"cut in place to {size} bytes while answering", 4, ["long.quern"], endless, during=cut(size), seconds=10)

    def rename(work, process):
        wait_for_output(process)
        os.replace(work.write("new.quern", b"not an engine"), work.path("long.quern"))
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)

    yield Case("E05", "replaced by another file while answering: the open one goes on", 75, [], endless, during=rename, seconds=10)


def leftover(work):
    """Killed builds of the same output, at moments of their own; then a whole one."""
    arguments = build(work, work.path("out.quern"))
    for delay in (0.002, 0.005, 0.01, 0.02, 0.03):
        process = subprocess.Popen([work.quern] + arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if os.path.exists(work.path("out.quern")):
            os.remove(work.path("out.quern"))
    return arguments


def no_leftover(work, result):
    names = sorted(os.listdir(work.folder))
    extra = [n for n in names if n not in ("model", "out.quern")]
    return f"left behind: {extra}" if extra else None


def cases():
    yield from damaged()
    yield from foreign()
    yield from ranges()
    yield from writing()
    yield from interrupted()
    yield from replaced()
