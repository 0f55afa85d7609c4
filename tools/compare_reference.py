#!/usr/bin/env python3
"""Answers of an engine against a reference's (tools/hf_reference.py), as text would differ: where each answer leaves the reference.

    compare_reference.py REFERENCE.jsonl OUT.jsonl [--max-margin NATS]

    # the same prompts through Quern, greedily
    compare_reference.py --prompts REFERENCE.jsonl > IN.jsonl
    quern run -m ENGINE.quern --prompts IN.jsonl --out OUT.jsonl --temperature 0 -n 64

OUT holds {"id", "output_ids"} a line. After the first difference the texts differ anyhow, so only that one is judged: it is a near tie
when the engine took the reference's second choice and the reference saw at most --max-margin nats between its two. Exit status 1 when an
answer is missing or a difference is no near tie. Tokens under teacher forcing are `quern eval agreement`'s to count.
"""
import argparse
import json
import sys


def read_lines(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def first_difference(want, found):
    for i, pair in enumerate(zip(want, found)):
        if pair[0] != pair[1]:
            return i
    # An answer may end before the reference's end token, which some engines do not return.
    return None if len(found) >= len(want) - 1 else len(found)


def judge(reference, out, max_margin):
    found = {line["id"]: line["output_ids"] for line in out}
    same = ties = bad = 0
    for line in reference:
        if line["id"] not in found:
            print(f"{line['id']}: no answer")
            bad += 1
            continue
        index = first_difference(line["output_ids"], found[line["id"]])
        if index is None:
            same += 1
            continue
        ours = found[line["id"]][index] if index < len(found[line["id"]]) else None
        first, first_logprob, second, second_logprob = line["top2"][index]
        margin = first_logprob - second_logprob
        near_tie = ours == second and margin <= max_margin
        ties, bad = ties + near_tie, bad + (not near_tie)
        print(f"{line['id']}: token {index}: want {first}, found {ours}; second choice {second} at {margin:.6f} nats{'' if near_tie else ': no near tie'}")
    print(f"{same} of {len(reference)} answers equal, {ties} leave at a near tie (at most {max_margin} nats), {bad} otherwise")
    return bad == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--max-margin", type=float, default=0.005)
    parser.add_argument("--prompts", action="store_true", help="print the reference's prompts as lines for quern run")
    options = parser.parse_args()
    reference = read_lines(options.reference)
    if options.prompts:
        for line in reference:
            print(json.dumps({"id": line["id"], "prompt_ids": line["prompt_ids"]}, separators=(",", ":")))
    elif options.out is None:
        parser.error("OUT.jsonl is missing")
    else:
        sys.exit(0 if judge(reference, read_lines(options.out), options.max_margin) else 1)


if __name__ == "__main__":
    main()
