#!/usr/bin/env python3
"""deploy/ against the program: metrics that the dashboard and the rules name exist, and so do the options, variables and paths of the others.

Usage: deploy.py STUB_SERVER QUERN. Python 3 and its standard library. Prints "N of N".
"""
import json
import pathlib
import re
import subprocess
import sys
import urllib.request

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
RULES = "prometheus-rules.yaml"
DASHBOARD = "grafana-dashboard.json"


def text_of(name):
    return (DEPLOY / name).read_text(encoding="utf-8")


def served(url):
    body = json.dumps({"messages": [{"role": "user", "content": "Hello"}]}).encode()
    urllib.request.urlopen(urllib.request.Request(url + "/v1/chat/completions", body, {"Content-Type": "application/json"}), timeout=30).read()
    metrics = urllib.request.urlopen(url + "/metrics", timeout=30).read().decode()
    return set(re.findall(r"^([a-z0-9_:]+)\{", metrics, re.M)), set(re.findall(r'(\w+)="', metrics))


def metrics_exist(url, _):
    names, labels = served(url)
    recorded = set(re.findall(r"record: (\S+)", text_of(RULES)))
    assert len(names) > 50 and len(recorded) == 4, (names, recorded)
    for file in (DASHBOARD, RULES):
        used = set(re.findall(r"\bquern:[a-z0-9_:]+", text_of(file))) - recorded
        assert used and used <= names, f"{file}: not in /metrics: {sorted(used - names)}"
    known = labels | {"le", "job", "instance"}
    for clause in re.findall(r"by \(([^)]*)\)", text_of(DASHBOARD) + text_of(RULES)):
        assert {each.strip() for each in clause.split(",")} <= known, clause


def dashboard_is_whole(*_):
    board = json.loads(text_of(DASHBOARD))
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    variables = {each["name"] for each in board["templating"]["list"]} | {"__rate_interval", "__all"}
    assert set(re.findall(r"\$\{?(\w+)", text_of(DASHBOARD))) <= variables
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        assert panel["targets"] and place["x"] + place["w"] <= 24, panel["title"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        for target in panel["targets"]:
            expression = target["expr"]
            assert expression.count("(") == expression.count(")") and expression.count("{") == expression.count("}"), expression


def options_exist(_, quern):
    known = set(re.findall(r"--[a-z][a-z-]+", subprocess.run([quern, "serve", "--help"], check=True, capture_output=True, text=True).stdout))
    for file in ("quern.service", "kubernetes.yaml", "Dockerfile", "README.md", "gateway.yaml"):
        text = text_of(file)
        lines = [line for line in text.splitlines() if re.search(r"quern serve|args:|`--|--shutdown|QUERN_|CMD \[", line)]
        used = {option for line in lines for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", line)}
        used -= {"--read-only", "--cap-drop", "--from-file"}  # of docker run and kubectl
        assert used <= known, f"{file}: {sorted(used - known)}"
        variables = {"--" + name.lower().replace("_", "-") for name in re.findall(r"(?<!-D)QUERN_([A-Z_]+)", text)}
        assert variables <= known, f"{file}: {sorted(variables - known)}"


def probes_need_no_key(url, _):
    paths = set(re.findall(r"httpGet: \{path: (\S+),", text_of("kubernetes.yaml")))
    assert paths == {"/livez", "/readyz"}
    for path in paths:
        assert urllib.request.urlopen(url + path, timeout=30).status == 200


def packages_are_those_of_setup(*_):
    setup = (DEPLOY.parent / "tools" / "setup.sh").read_text(encoding="utf-8")
    used = re.search(r"--no-install-recommends ([^&]*)", text_of("Dockerfile")).group(1).replace("\\\n", " ").split()
    assert used and all(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", setup) for name in used), used


TESTS = [metrics_exist, dashboard_is_whole, options_exist, probes_need_no_key, packages_are_those_of_setup]


def main():
    stub, quern = sys.argv[1:3]
    passed = 0
    with subprocess.Popen([stub], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        for test in TESTS:
            try:
                test(url, quern)
                passed += 1
                print(f"passed {test.__name__}", flush=True)
            except Exception as error:  # pylint: disable=broad-except
                print(f"FAILED {test.__name__}: {type(error).__name__}: {error}", flush=True)
        process.stdin.close()
    print(f"{passed} of {len(TESTS)}")
    return 0 if passed == len(TESTS) else 1


if __name__ == "__main__":
    sys.exit(main())
