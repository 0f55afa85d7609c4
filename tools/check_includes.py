#!/usr/bin/env python3
"""Fails on an #include that points upward or sideways in src/ (docs/architecture.md), on CUDA outside src/backend/cuda/, and on cycles.

Usage: check_includes.py [ROOT]. Prints one line a finding and exits 1 when there is any.
"""
import pathlib
import re
import sys

RANKS = {
    "base": 0,
    "formats": 1,
    "tensor": 2,
    "files": 3,
    "text": 3,
    "backend": 3,
    "models": 4,
    "builder": 5,
    "engine": 5,
    "eval": 6,
    "server": 6,
    "load": 6,  # the load generator
    "api": 6,  # include/quern/ and src/api/
    "cli": 7,
}

# Inside backend: ops < kernel_row.h and device_runtime.h < the devices < the rest. The devices never see each other.
BACKEND_SHARED = {"kernel_row.h", "device_runtime.h"}

# Third-party headers and the only places that may name them.
THIRD_PARTY = [
    (re.compile(r"^spdlog/"), {"src/base/log.cpp"}),
    (re.compile(r"^nlohmann/"), {"src/base/json.h", "src/base/json.cpp"}),
    (re.compile(r"^xxh"), {"src/files/", "src/base/"}),
    (re.compile(r"^CLI/"), {"src/cli/"}),
    (
        re.compile(r"^boost/"),
        {"src/server/http_parser.cpp", "src/server/http_server.cpp", "src/server/asio_stream.h", "src/server/tcp_stream.cpp", "src/server/tls_stream.cpp",
         "src/load/http_client.cpp"},
    ),
    (re.compile(r"^openssl/"), {"src/server/access.cpp", "src/server/chat_page.cpp"}),
    (re.compile(r"^(cuda|cublas|cudnn|curand|nvtx|nvml|nccl|cub/|thrust/|cooperative_groups|mma\.h|driver_types)"), {"src/backend/cuda/"}),
]

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
CUDA_CONDITION = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif)\b.*(CUDA|NVCC)")
SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}


def room_of(path):
    """("backend", "cpu") for src/backend/cpu/x.cpp or backend/cpu/x.h; ("api", "") for include/quern/x.h."""
    parts = path.split("/")
    if parts[0] in ("src", "include"):
        parts = parts[1:]
    if parts[0] == "quern":
        return "api", ""
    return parts[0], parts[1] if len(parts) > 2 else parts[-1]


def backend_rank(inner):
    if inner == "ops":
        return 0
    if inner in BACKEND_SHARED:
        return 1
    if inner in ("cpu", "cuda"):
        return 2
    return 3


def check_include(path, line_number, target, is_test):
    findings = []
    where = f"{path}:{line_number}"
    for pattern, allowed in THIRD_PARTY:
        if pattern.search(target) and not any(path == a or (a.endswith("/") and path.startswith(a)) for a in allowed):
            findings.append(f"{where}: {target}: only {', '.join(sorted(allowed))} may include it")
    room, inner = room_of(path)
    target_room, target_inner = room_of(target)
    if target_room not in RANKS or "/" not in target:
        return findings
    if is_test:
        return findings
    if room != target_room:
        if RANKS[target_room] >= RANKS[room]:
            findings.append(f"{where}: {target}: rank {RANKS[target_room]} from rank {RANKS[room]}: only lower ranks may be included")
        elif path.startswith("include/"):
            findings.append(f"{where}: {target}: a public header includes no room of src/")
    elif room == "backend" and inner != target_inner:
        upward = backend_rank(target_inner) > backend_rank(inner)
        devices = {inner, target_inner} == {"cpu", "cuda"}
        if upward or devices:
            findings.append(f"{where}: {target}: backend is layered ops < kernel_row, device_runtime < cpu, cuda < the rest")
    return findings


def find_cycles(graph):
    """One finding a cycle of headers that include each other."""
    findings, done = [], set()
    for start in sorted(graph):
        trail, on_trail = [start], {start}
        stack = [iter(sorted(graph[start]))] if start not in done else []
        while stack:
            following = next(stack[-1], None)
            if following is None:
                stack.pop()
                node = trail.pop()
                on_trail.discard(node)
                done.add(node)
            elif following in on_trail:
                findings.append("cycle: " + " -> ".join(trail[trail.index(following):] + [following]))
            elif following not in done and following in graph:
                trail.append(following)
                on_trail.add(following)
                stack.append(iter(sorted(graph[following])))
    return findings


def check_tree(root):
    findings, graph, count = [], {}, 0
    for folder in ("src", "include"):
        for file in sorted((root / folder).rglob("*")):
            if file.suffix not in SUFFIXES:
                continue
            path = file.relative_to(root).as_posix()
            room, _ = room_of(path)
            if room not in RANKS:
                findings.append(f"{path}: room '{room}' has no rank")
                continue
            count += 1
            is_test = file.stem.endswith("_test")
            name = path.split("/", 1)[1]
            graph[name] = set()
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                if CUDA_CONDITION.match(line) and not path.startswith("src/backend/cuda/"):
                    findings.append(f"{path}:{number}: a condition on CUDA outside src/backend/cuda/")
                match = INCLUDE.match(line)
                if match:
                    findings += check_include(path, number, match.group(2), is_test)
                    graph[name].add(match.group(2))
    findings += find_cycles({name: {t for t in targets if t in graph} for name, targets in graph.items()})
    return findings, count


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent)
    findings, count = check_tree(root)
    for finding in findings:
        print(finding)
    print(f"check_includes: {count} files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
