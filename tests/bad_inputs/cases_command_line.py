"""Class C: the command line, its environment, standard streams and signals; and JSONL prompt files."""
import json
import os
import signal
import time

from case import Case

# A number option of each kind of range, and values that no range has.
NUMBERS = ["-n", "-c", "-t", "--top-k", "--seed", "--max-num-seqs"]
REALS = ["--temp", "--top-p", "--min-p", "--repetition-penalty", "--presence-penalty"]
NO_NUMBERS = ["abc", "1e9", "0x10", "1,5", "99999999999999999999", " 7", "7 ", "+7", "--", "1_000", "٧"]


def run(work, *more):
    return ["run", "-m", work.write("good.quern", work.good_engine), *more]


def usage(title, says, *arguments):
    return Case("C01", title, 2, says, lambda w: list(arguments))


def flags():
    yield usage("no verb", ["verb"])
    yield usage("unknown verb", ["unknown verb", "run"], "rum")
    yield usage("unknown verb, far from all", ["unknown verb"], "frobnicate")
    yield usage("unknown flag, the nearest is named", ["--max-tokenz", "--max-tokens"], "run", "--max-tokenz", "7")
    yield usage("unknown flag with a value", ["--temprature", "--temperature"], "run", "--temprature=0.5")
    yield usage("unknown short flag", ["-Z"], "run", "-Z")
    yield usage("unknown flag before the verb", ["--verbose"], "--verbose", "run")
    yield usage("flag without its value", ["--prompt"], "run", "-m", "x", "-p")
    yield usage("verb without what it needs", ["MODEL"], "run", "-p", "hello")
    yield usage("one argument too many", ["unexpected"], "info", "a.quern", "b.quern")
    yield usage("two kinds of prompts", ["-p"], "run", "-m", "x", "-p", "a", "-f", "b")
    yield usage("no prompt", ["-p"], "run", "-m", "x")
    yield usage("--prompts without --out", ["--out"], "run", "-m", "x", "--prompts", "a.jsonl")
    yield usage("value that is no choice", ["--kv-cache-dtype", "fp3", "f16"], "run", "-m", "x", "-p", "a", "--kv-cache-dtype", "fp3")
    for device in ("gpu", "cuda:", "cuda:-1", "cuda:999", "cuda:0x1"):
        yield Case("C01", f"--device {device}", 2, ["--device", device], lambda w, d=device: run(w, "-p", "a", "--device", d))
    for option in NUMBERS:
        for value in NO_NUMBERS + ["-7", "1.5"]:
            yield usage(f"{option} '{value}'", ["from", "found"], "run", "-m", "x", "-p", "a", option, value)
    for option in REALS:
        for value in [v for v in NO_NUMBERS if v != "1e9"] + ["1e400", "nan", "inf", "1e9", "-7"]:
            yield usage(f"{option} '{value}'", ["from", "found"], "run", "-m", "x", "-p", "a", option, value)
    yield usage("build --dtype int3", ["int3", "int4"], "build", "x", "-o", "y.quern", "--dtype", "int3")
    yield usage("build --group-size 7", ["group"], "build", "x", "-o", "y.quern", "--dtype", "int4", "--group-size", "7")
    yield usage("build without an output", ["-o"], "build", "x")
    for name, value in (("top_p 0", ("--top-p", "0")), ("-n 0", ("-n", "0")), ("penalty 0", ("--repetition-penalty", "0"))):
        yield Case("C01", name, 2, ["want"], lambda w, v=value: run(w, "-p", "hello", *v))
    yield Case("C01", "17 stop strings", 2, ["stop"], lambda w: run(w, "-p", "hello", *[x for i in range(17) for x in ("--stop", str(i))]))
    yield Case("C01", "stop string of 257 bytes", 2, ["stop"], lambda w: run(w, "-p", "hello", "--stop", "x" * 257))
    yield Case("C01", "kernel not known", 2, ["linear"], lambda w: run(w, "-p", "hello", "--kernel", "linear=nothing"))
    yield Case("C01", "prompt longer than the context", 3, ["256"], lambda w: run(w, "-p", "q" * 400))
    yield Case("C01", "prompt and -n longer than the context", 3, ["256"], lambda w: run(w, "-p", "q" * 200, "-n", "100"))


def arguments():
    for verb in (["run", "-m", "x", "-p"], ["info"], ["build", "x", "-o"], ["tokenize", "-m", "x", "-p"]):
        yield Case("C02", f"empty: {verb[0]}", 2, ["empty"], lambda w, v=verb: v + [""])
        yield Case("C02", f"not UTF-8: {verb[0]}", 2, ["utf-8", "0xff"], lambda w, v=verb: v + [b"a\xff"])
    # The system itself hands over at most 128 KiB an argument; command_line_test.cpp has the limit.
    yield Case("C02", "flag of 100 KiB", 2, ["unknown flag"], lambda w: ["run", "--" + "x" * 100_000])
    yield Case("C02", "value of 100 KiB", 2, ["found"], lambda w: ["run", "-n", "9" * 100_000])
    yield Case("C02", "file name of 100 KiB", 4, [], lambda w: ["info", "x" * 100_000])
    yield Case("C02", "control characters", 4, ["\\x1b"], lambda w: ["info", "a\x1b[2J\nb"])
    yield Case("C02", "10,000 arguments", 2, [], lambda w: ["info"] + ["x"] * 10_000)


def environment():
    yield Case("C04", "--device cuda without one", 5, ["cuda"], lambda w: run(w, "-p", "hello", "--device", "cuda"),
               environment={"CUDA_VISIBLE_DEVICES": "9"})
    yield Case("C06", "64 descriptors", 0, [], lambda w: run(w, "-p", "hello", "-n", "2"), limits={"NOFILE": 64})
    yield Case("C06", "stack of 256 KiB", 0, [], lambda w: run(w, "-p", "hello", "-n", "2"), limits={"STACK": 256 * 1024})
    yield Case("C06", "address space of 60 MB", 4, ["memory"], lambda w: endless(w) + ["-c", "200000"], limits={"AS": 60_000_000})
    for stream in ("closed", "full", "broken"):
        yield Case("C07", f"standard output {stream}", 4, ["standard output"], lambda w: run(w, "-p", "hello", "-n", "20", "--ignore-eos"), stdout=stream)
        yield Case("C07", f"standard output {stream}: --help", 4, ["standard output"], lambda w: ["--help"], stdout=stream)
    yield Case("C08", "no HOME, no temporary folder", 0, [], lambda w: run(w, "-p", "hello", "-n", "2"),
               environment={"HOME": None, "XDG_CACHE_HOME": None, "TMPDIR": "/nowhere", "PATH": None})
    yield Case("C08", "user 65534", 0, [], lambda w: run(w, "-p", "hello", "-n", "2"), user=65534)
    yield Case("C08", "no HOME, and a model that must be cached", 4, ["cache"], cached_model, environment={"HOME": None, "XDG_CACHE_HOME": None})
    yield Case("C08", "cache folder is a file", 4, ["cache"], lambda w: (w.write("cache", b""), cached_model(w))[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        yield Case("C09", f"{number.name} while answering", 75, [], endless, during=lambda w, p, n=number: (wait_for_output(p), p.send_signal(n)), seconds=4)
        yield Case("C09", f"{number.name} while loading", 75, [], endless, during=lambda w, p, n=number: (wait_for_mapping(p), p.send_signal(n)), seconds=4)
    yield Case("C09", "SIGINT twice", 75, [], endless, during=lambda w, p: [wait_for_output(p)] + [p.send_signal(signal.SIGINT) for _ in range(2)], seconds=4)


def cached_model(work):
    from tiny import HfCheckpoint

    HfCheckpoint().write(work.path("model"))
    return ["run", "-m", work.path("model"), "-p", "hello", "-n", "2"]


def endless(work):
    """An answer of 190,000 tokens, which nobody waits for."""
    return ["run", "-m", work.write("long.quern", work.long_engine), "-p", "hello", "--ignore-eos", "-n", "190000"]


def wait_for_output(process):
    os.read(process.stdout.fileno(), 1)


def wait_for_mapping(process):
    """Until the model's file is mapped: from here on it is being loaded."""
    for _ in range(10_000):
        try:
            with open(f"/proc/{process.pid}/maps", encoding="utf-8") as file:
                if "long.quern" in file.read():
                    return
        except OSError:
            return
        time.sleep(0.0005)


def prompts(title, says, text, code=3, **rest):
    def make(work):
        return run(work, "--prompts", work.write("in.jsonl", text), "--out", work.path("out.jsonl"))

    return Case("C02", f"prompt file: {title}", code, says, make, **rest)


def line(**fields):
    return json.dumps({"id": "a", "prompt": "hello", "max_tokens": 2} | fields)


def prompt_files():
    where = ["in.jsonl:2"]
    good = line(id="good") + "\n"
    yield prompts("empty", ["in.jsonl"], "")
    yield prompts("no JSON", where, good + "hello\n")
    yield prompts("a list", where, good + "[1]\n")
    yield prompts("cut off", where, good + line()[:-4])
    yield prompts("invalid UTF-8", where, good.encode() + b'{"id": "\xff", "prompt": "x"}\n')
    yield prompts("no id", where + ["id"], good + '{"prompt": "x"}\n')
    yield prompts("id twice", where + ["good"], good + good)
    yield prompts("id a list", where + ["id"], good + line(id=[1]))
    yield prompts("no prompt", where + ["prompt"], good + '{"id": "b"}')
    yield prompts("two prompts", where + ["prompt"], good + line(prompt_ids=[1]))
    yield prompts("empty prompt", where + ["prompt"], good + line(prompt=""))
    yield prompts("prompt a number", where + ["prompt"], good + line(prompt=7))
    for name, ids in (("negative", [-1]), ("2^53+1", [2**53 + 1]), ("fraction", [1.5]), ("text", ["1"]), ("none", []), ("no list", 5)):
        yield prompts(f"prompt_ids {name}", where + ["prompt_ids"], good + json.dumps({"id": "b", "prompt_ids": ids}))
    for name, messages in (("empty", []), ("a text", "hi"), ("unknown role", [{"role": "root", "content": "x"}]), ("no content", [{"role": "user"}]),
                           ("image", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]),
                           ("5,000", [{"role": "user", "content": "x"}] * 5000)):
        yield prompts(f"messages {name}", where + ["messages"], good + json.dumps({"id": "b", "messages": messages}))
    for field, value in (("temperature", "hot"), ("top_k", 1.5), ("max_tokens", "10"), ("stop", 7), ("stop", ["a"] * 17), ("logit_bias", [1]),
                         ("logit_bias", {"x": 1}), ("seed", 2**64), ("ignore_eos", "yes"), ("stop_token_ids", "1")):
        yield prompts(f"{field} {value!r}"[:40], where + [field], good + line(**{field: value}))
    # Out of range for the model: that prompt's line says so, the others are answered, the exit status tells.
    for field, value in (("temperature", -1), ("top_p", 2), ("max_tokens", 0), ("stop", [""]), ("logit_bias", {"999999": 1}), ("min_p", 5)):
        yield prompts(f"{field} {value!r}", ["1 of 2", field], good + line(**{field: value}), creates=["out.jsonl"], check=one_answer)
    yield prompts("prompt id past the vocabulary", ["1 of 2"], good + json.dumps({"id": "b", "prompt_ids": [10**6]}), creates=["out.jsonl"], check=one_answer)
    yield prompts("prompt past the context", ["1 of 2", "256"], good + line(prompt="q" * 1000), creates=["out.jsonl"], check=one_answer)
    yield prompts("line of 17 MiB", where, good + line(prompt="q" * (17 << 20)))

    def same(work):
        path = work.write("in.jsonl", good)
        return run(work, "--prompts", path, "--out", path)

    def other_results(work):
        work.write("out.jsonl", '{"id": "of another file"}\n')
        return run(work, "--prompts", work.write("in.jsonl", good), "--out", work.path("out.jsonl"))

    yield Case("C02", "results onto the prompts", 2, ["--out"], same)
    yield Case("C02", "results of other prompts", 3, ["out.jsonl:1", "of another file"], other_results)
    yield Case("C02", "results onto a device", 3, ["--out"], lambda w: run(w, "--prompts", w.write("in.jsonl", good), "--out", "/dev/null"))
    yield Case("C02", "prompt file missing", 4, ["in.jsonl"], lambda w: run(w, "--prompts", w.path("in.jsonl"), "--out", w.path("out.jsonl")))


def one_answer(work, result):
    with open(work.path("out.jsonl"), encoding="utf-8") as file:
        lines = [json.loads(each) for each in file]
    reasons = [each["finish_reason"] for each in lines]
    return None if len(lines) == 2 and reasons[0] in ("length", "stop") and reasons[1] == "error" else f"found {lines}"


def cases():
    for group in (flags, arguments, environment, prompt_files):
        yield from group()
