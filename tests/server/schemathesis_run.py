#!/usr/bin/env python3
"""schemathesis over the interface's own description: no 5xx, no hang, and statuses, media types and bodies as described.

Usage: schemathesis_run.py STUB_SERVER [--examples N] [--seed N] [--seconds N]. Needs the package (pip install schemathesis==4.32.5); exits 77
without it. The stub server asks for a key, so that what the description says of keys is tried too.

Left out: positive_data_acceptance, since rules between fields are in no schema (a prompt and max_tokens that exceed the context together,
logprobs without which top_logprobs is refused, a grammar that cannot be kept), and the media type of streams, which the body chooses.
"""
import argparse
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from checks import Stub  # pylint: disable=wrong-import-position

VERSION = "4.32.5"
CHECKS = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance", "response_schema_conformance",
          "negative_data_rejection", "missing_required_header", "unsupported_method", "allow_header_conformance", "ignored_auth"]
KEY = "schema-key"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("stub")
    parser.add_argument("--examples", type=int, default=30, help="random requests a route, beside those at the limits of the schemas")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=120, help="of the whole run")
    options = parser.parse_args()
    if importlib.util.find_spec("schemathesis") is None:
        print(f"schemathesis is not installed (pip install schemathesis=={VERSION})")
        return 77
    import schemathesis  # pylint: disable=import-outside-toplevel
    if schemathesis.__version__ != VERSION:
        print(f"want schemathesis {VERSION}, found {schemathesis.__version__}: its checks may differ")
    with tempfile.TemporaryDirectory() as folder, Stub(os.path.abspath(options.stub), 0, 64, 8192, 2048, "chatml-qwen3", KEY) as stub:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{stub.port}/openapi.json", "--header", f"Authorization: Bearer {KEY}",
                   "--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing", "--max-examples", str(options.examples),
                   "--seed", str(options.seed), "--request-timeout", "20", "--max-response-time", "10", "--continue-on-failure", "--no-color",
                   "--max-time", str(options.seconds), "--suppress-health-check", "all", "--warnings", "off"]
        result = subprocess.run(command, cwd=folder, timeout=options.seconds + 120, check=False)
        alive = stub.ask("GET", "/health").status == 200
    print("the server answers" if alive else "the server does not answer")
    return 0 if result.returncode == 0 and alive else 1


if __name__ == "__main__":
    sys.exit(main())
