#!/usr/bin/env python3
"""Bad inputs: every class of files, configs, tokenizers and the command line, each with the answer that docs/bad_inputs.md promises.

Usage: run.py QUERN [--only ID] [--list] [--jobs N]. Each case runs the program once or more and is scored on six points: no signal and no
hang, the exit status, a message of one line that names what it must, the time, the memory, and nothing left behind. Prints the failures
and "N of N cases, M classes".
"""
import argparse
import dataclasses
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import cases_command_line
import cases_config
import cases_engine
import cases_gguf
import cases_safetensors
import cases_tokenizer
from case import Work
from tiny import HfCheckpoint

MEMORY_KIB = 256 * 1024  # above what a good input takes


@dataclasses.dataclass
class Result:
    code: int
    stdout: bytes
    stderr: bytes
    seconds: float
    max_rss_kib: int


class Runner:
    def __init__(self, quern, slowness):
        self.quern, self.slowness = quern, slowness
        self.good_engine = self.long_engine = b""
        self.baseline_kib = 0
        self.root = tempfile.mkdtemp(prefix="quern-bad-inputs-")
        os.chmod(self.root, 0o755)

    def close(self):
        subprocess.run(["chmod", "-R", "u+rwX", self.root], check=False)
        shutil.rmtree(self.root, ignore_errors=True)

    def prepare(self):
        """The good input: it must build and answer, and its memory is the measure of the others."""
        work = Work(os.path.join(self.root, "good"))
        os.makedirs(work.folder)
        HfCheckpoint().write(work.path("model"))
        for arguments in (["build", work.path("model"), "-o", work.path("good.quern")],
                          ["run", "-m", work.path("good.quern"), "-p", "hello", "-n", "4", "--temp", "0"]):
            result = self.run(work, arguments)
            if result.code != 0:
                sys.exit(f"the good input is refused: {result.stderr.decode(errors='replace')}")
            self.baseline_kib = max(self.baseline_kib, result.max_rss_kib)
        self.good_engine = self.read(work.path("good.quern"))
        endless = HfCheckpoint()
        endless.config["max_position_embeddings"] = 200_000
        endless.write(work.path("long"))
        self.run(work, ["build", work.path("long"), "-o", work.path("long.quern")])
        self.long_engine = self.read(work.path("long.quern"))

    @staticmethod
    def read(path):
        with open(path, "rb") as file:
            return file.read()

    def run(self, work, arguments, case=None):
        environment = dict(os.environ, HOME=work.path("home"), XDG_CACHE_HOME=work.path("cache"))
        environment["ASAN_OPTIONS"] = "quarantine_size_mb=8:allocator_may_return_null=1:detect_leaks=1"
        for name, value in (case.environment if case else {}).items():
            environment.pop(name, None)
            if value is not None:
                environment[name] = value
        limits = case.limits if case else {}
        user = case.user if case and os.getuid() == 0 else None
        stream = case.stdout if case else "pipe"

        def before_exec():
            for name, value in limits.items():
                resource.setrlimit(getattr(resource, "RLIMIT_" + name), (value, value))
            if stream == "closed":
                os.close(1)
            if user is not None:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)

        out = subprocess.PIPE
        if stream == "full":
            out = open("/dev/full", "wb")
        elif stream == "broken":
            read_end, write_end = os.pipe()
            os.close(read_end)
            out = os.fdopen(write_end, "wb")
        process = subprocess.Popen([self.quern] + arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, env=environment,
                                   preexec_fn=before_exec, cwd=work.folder)
        killer = threading.Timer(60 * self.slowness, process.kill)
        killer.start()
        collected = {"stdout": b"", "stderr": b""}
        if case and case.during:
            case.during(work, process)

        def collect(name, pipe):
            collected[name] = pipe.read()

        pipes = [(name, pipe) for name, pipe in (("stdout", process.stdout), ("stderr", process.stderr)) if pipe]
        readers = [threading.Thread(target=collect, args=pair) for pair in pipes]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        killer.cancel()
        for _, pipe in pipes:
            pipe.close()
        if out is not subprocess.PIPE:
            try:
                out.close()
            except OSError:
                pass
        # Processor seconds: a busy machine is no hang. What waits for ever is ended by the killer, and that is a signal.
        return Result(process.returncode, collected["stdout"], collected["stderr"], usage.ru_utime + usage.ru_stime, usage.ru_maxrss)

    def problems(self, number, case):
        work = Work(os.path.join(self.root, str(number)))
        os.makedirs(work.folder)
        if os.getuid() == 0:
            os.chmod(work.folder, 0o777)
        work.quern, work.good_engine, work.long_engine = self.quern, self.good_engine, self.long_engine
        commands = case.make(work)
        if isinstance(commands, str):
            commands = ["build", commands, "-o", work.path("out.quern")]
        if not commands or not isinstance(commands[0], list):
            commands = [commands]
        before = self.files(work)
        for arguments in commands[:-1]:
            result = self.run(work, arguments)
            if result.code != 0:
                return [f"its preparation ended with {result.code}: {result.stderr.decode(errors='replace')}"]
        result = self.run(work, commands[-1], case)
        found = self.judge(case, result)
        extra = sorted(self.files(work) - before - {work.path(name) for name in case.creates})
        if extra:
            found.append(f"left behind: {', '.join(os.path.relpath(path, work.folder) for path in extra)}")
        missing = [name for name in case.creates if not os.path.exists(work.path(name))]
        if missing:
            found.append(f"not there: {missing}")
        if not found and case.check:
            problem = case.check(work, result)
            if problem:
                found.append(problem)
        if not found:
            subprocess.run(["rm", "-rf", work.folder], check=False)
        return found

    def judge(self, case, result):
        found = []
        message = result.stderr.decode("utf-8", errors="replace")
        if result.code < 0:
            return [f"ended by signal {-result.code} after {result.seconds:.1f} s: {message[-1500:]}"]
        if "Sanitizer" in message or "runtime error:" in message:
            found.append(f"a sanitizer reports: {message[:3000]}")
        if result.code != case.code:
            found.append(f"want exit {case.code}, found {result.code}: {message[-500:]}")
        if result.seconds > case.seconds * self.slowness:
            found.append(f"want at most {case.seconds * self.slowness:.0f} s, found {result.seconds:.1f}")
        if result.max_rss_kib > self.baseline_kib + MEMORY_KIB * (self.slowness if self.slowness > 1 else 1):
            found.append(f"want at most {self.baseline_kib} + {MEMORY_KIB} KiB resident, found {result.max_rss_kib}")
        errors = [line for line in message.splitlines() if line.startswith("quern: ")]
        if case.code not in (0, 75):
            if len(errors) != 1:
                found.append(f"want one line 'quern: ...', found {message[:500]!r}")
            text = errors[0] if errors else message
            if len(text) > 1200:
                found.append(f"the message has {len(text)} characters")
        else:
            text = message
        if any(ord(c) < 32 and c not in "\n\t\r" for c in message):
            found.append("control characters reach the terminal")
        missing = [piece for piece in case.says if piece.lower() not in text.lower()]
        if missing:
            found.append(f"the message does not name {missing}: {text[:500]}")
        return found

    @staticmethod
    def files(work):
        """Everything below the folder but empty folders."""
        return {os.path.join(folder, name) for folder, _, names in os.walk(work.folder) for name in names}


def start_worker(runner, cases):
    global the_runner, the_cases
    the_runner, the_cases = runner, cases


def run_case(number):
    return the_runner.problems(number, the_cases[number])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("quern")
    parser.add_argument("--only", help="an id (F03), or the beginning of one")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--keep", action="store_true", help="leave the folders of failed cases")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--slowness", type=float, default=1, help="factor on times and memory, for sanitizer builds")
    options = parser.parse_args()

    modules = (cases_safetensors, cases_gguf, cases_config, cases_tokenizer, cases_engine, cases_command_line)
    cases = [case for module in modules for case in module.cases() if not options.only or case.id.startswith(options.only)]
    if options.list:
        for case in cases:
            print(f"{case.id}  {case.title}")
        return 0
    if options.slowness > 1:  # AddressSanitizer maps terabytes before main(): under a limit on addresses no such program starts
        bounded = [case for case in cases if case.limits and "AS" in case.limits]
        cases = [case for case in cases if case not in bounded]
        for case in bounded:
            print(f"skipped in a sanitizer build: {case.id} {case.title}")
    runner = Runner(os.path.abspath(options.quern), options.slowness)
    runner.prepare()
    failed = 0
    # Processes and not threads: a process of one thread may run code between fork and exec.
    context = multiprocessing.get_context("fork")
    with context.Pool(options.jobs, start_worker, (runner, cases)) as pool:
        for case, found in zip(cases, pool.imap(run_case, range(len(cases)))):
            for problem in found:
                print(f"{case.id} {case.title}: {problem}")
            failed += bool(found)
    classes = {case.id for case in cases}
    print(f"bad inputs: {len(cases) - failed} of {len(cases)} cases, {len(classes)} classes")
    if not options.keep or not failed:
        runner.close()
    else:
        print(f"kept: {runner.root}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
