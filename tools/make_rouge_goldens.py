#!/usr/bin/env python3
"""ROUGE scores of the Python package rouge_score 0.1.2 for Quern's own tests.

    make_rouge_goldens.py OUT_FOLDER [CNN_DAILYMAIL.jsonl]        (pip install rouge-score==0.1.2)

Writes OUT_FOLDER/texts.json: composed pairs of texts with precision, recall and F1 of every type, words with their stems, and the bootstrap
intervals of the pairs; and, when the articles are there, OUT_FOLDER/cnn_dailymail.json: F1 alone, of candidates that candidate_of() makes of
each article, against its highlights. The articles themselves are not written.
"""
import json
import random
import sys

import numpy as np
from nltk.stem import porter
from rouge_score import rouge_scorer, scoring

TYPES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]

PAIRS = [
    ("The cat sat on the mat.", "The cat lay on a mat."),
    ("police killed the gunman", "police kill the gunman"),
    ("police killed the gunman", "the gunman kill police"),
    ("", "words without a reference"),
    ("words without a candidate", ""),
    ("", ""),
    ("!!! ???", "..."),
    ("one", "one"),
    ("one two", "two"),
    ("a a a a b", "a a c"),
    ("First sentence here.\nSecond sentence there.", "Second sentence there.\nFirst sentence here."),
    ("First sentence here.\n\n\nSecond one.\n", "First sentence.\nA second one, here."),
    ("w1 w2 w3 w4 w5", "w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5"),
    ("the the the\nthe the", "the\nthe the the the"),
    ("Running runners ran; the skies were dying, and flies tied lies.", "He runs. The sky dies, and a fly ties a lie."),
    ("Generalizations of relational conditioning happily adjusted.", "A generalization: related conditions adjust happily, hopefully."),
    ("It's 1,000 dollars -- isn't it? U.S.A.", "1000 dollars isn t it U S A"),
    ("naïve café in Zürich", "naive cafe in Zurich"),
    ("北京 is the capital of 中国", "Beijing is the capital of China"),
    ("273 \u212a is warm in \u0130stanbul", "273 k is warm in istanbul"),
    ("tabs\tand\r\nline\x0bends\x0c here", "tabs and line ends here"),
    ("snake_case and under_scores", "snake case and under scores"),
    ("A" * 40 + "y" * 40, "a" * 40 + "y" * 40),
    ("alpha beta gamma delta epsilon zeta eta theta iota kappa", "kappa iota theta eta zeta epsilon delta gamma beta alpha"),
]

WORDS = """caresses ponies ties caress cats feed agreed plastered bled motoring sing conflated troubled sized hopping tanned falling hissing
fizzed failing filing happy sky relational conditional rational valenci hesitanci digitizer conformabli radicalli differentli vileli analogousli
vietnamization predication operator feudalism decisiveness hopefulness callousness formaliti sensitiviti sensibiliti triplicate formative
formalize electriciti electrical hopeful goodness revival allowance inference airliner gyroscopic adjustable defensible irritant replacement
adjustment dependent adoption homologou communism activate angulariti homologous effective bowdlerize probate rate cease controll roll dying
lying tying news innings outings cannings howe proceed exceed succeed dies died tied cried spied eying by say enjoy toy boys yes yyyy sayyid
geology theology archaeology logi apologi fulli hopefulli truthfully really finally rationally generally national oed aed bed red ing king
being seeing agreeing fly flies flying mice at atlas bling wishing fuzzing buzzes kisses glasses ss is as us 1990s 2nd 3rds""".split()


def rng_words():
    """Words of random syllables with the endings that the stemmer knows."""
    random.seed(1)
    endings = ["ational", "tional", "enci", "anci", "izer", "bli", "alli", "entli", "eli", "ousli", "ization", "ation", "ator", "alism", "iveness", "fulness", "ousness",
               "aliti", "iviti", "biliti", "fulli", "logi", "icate", "ative", "alize", "iciti", "ical", "ful", "ness", "al", "ance", "ence", "er", "ic", "able", "ible", "ant",
               "ement", "ment", "ent", "sion", "tion", "ou", "ism", "ate", "iti", "ous", "ive", "ize", "e", "ed", "ing", "ied", "ies", "eed", "y", "ll", "s", "sses", ""]
    return ["".join(random.choice("bcdfglmnprstvyz") * random.choice([1, 1, 2]) + random.choice("aeiouy") for _ in range(random.randint(0, 3))) + random.choice("bdlnrstwxyz")
            + random.choice(endings) for _ in range(600)]


def scores(reference, candidate, stem):
    found = rouge_scorer.RougeScorer(TYPES, use_stemmer=stem).score(reference, candidate)
    return [[found[t].precision, found[t].recall, found[t].fmeasure] for t in TYPES]


def intervals(pairs, stem):
    scorer, aggregator = rouge_scorer.RougeScorer(TYPES, use_stemmer=stem), scoring.BootstrapAggregator()
    np.random.seed(0)
    for reference, candidate in pairs:
        aggregator.add_scores(scorer.score(reference, candidate))
    result = aggregator.aggregate()
    return [[list(getattr(result[t], end)) for end in ("low", "mid", "high")] for t in TYPES]


def candidate_of(article):
    """The article's first 700 bytes, a line a sentence, every seventh word left out."""
    words = article.encode()[:700].decode(errors="ignore").split(" ")
    return " ".join(w for i, w in enumerate(words) if i % 7 != 6).replace(". ", ".\n")


def main():
    folder = sys.argv[1]
    stemmer = porter.PorterStemmer()
    words = WORDS + sorted(w for w in set(rng_words()) if w)
    texts = {
        "pairs": [{"reference": r, "candidate": c, "plain": scores(r, c, False), "stemmed": scores(r, c, True)} for r, c in PAIRS],
        "plain_intervals": intervals(PAIRS, False),
        "stemmed_intervals": intervals(PAIRS, True),
        "stems": [[w, stemmer.stem(w)] for w in words],
    }
    with open(f"{folder}/texts.json", "w", encoding="utf-8") as out:
        json.dump(texts, out, ensure_ascii=True, separators=(",", ":"))
        out.write("\n")
    if len(sys.argv) < 3:
        return
    with open(sys.argv[2], encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    pairs = [(r["highlights"], candidate_of(r["article"])) for r in records]
    result = {name: [[f for _, _, f in scores(r, c, stem)] for r, c in pairs] for name, stem in (("plain", False), ("stemmed", True))}
    result |= {f"{name}_intervals": intervals(pairs, stem) for name, stem in (("plain", False), ("stemmed", True))}
    with open(f"{folder}/cnn_dailymail.json", "w", encoding="utf-8") as out:
        json.dump(result, out, separators=(",", ":"))
        out.write("\n")


if __name__ == "__main__":
    main()
