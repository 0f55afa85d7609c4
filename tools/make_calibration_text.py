#!/usr/bin/env python3
"""The calibration text that ships with Quern: src/builder/data/calibration.txt.

    make_calibration_text.py PYTHON_DOC DJANGO OUT.txt

PYTHON_DOC is the folder `_sources` of the Python documentation (PSF licence), DJANGO the folder `django` of its wheel (BSD licence). Taken are
paragraphs of the tutorial, the answers to questions and the guides; translations of Django's messages into other languages; pieces of Quern's
own source and documentation, and chat.txt, which was written for it. They are laid in turn, so that any stretch of the text has all kinds.
"""
import pathlib
import re
import sys

PROSE = ["tutorial/appetite", "tutorial/introduction", "faq/general", "tutorial/controlflow", "howto/unicode", "faq/design", "tutorial/datastructures",
         "howto/sockets", "tutorial/modules", "faq/programming", "tutorial/inputoutput", "howto/regex", "tutorial/errors", "tutorial/classes",
         "howto/functional", "tutorial/stdlib", "faq/library", "tutorial/floatingpoint", "howto/sorting", "howto/urllib2"]
LANGUAGES = ["zh_Hans", "de", "fr", "es", "ja", "ru", "zh_Hant", "pt_BR", "ko", "it", "ar", "nl", "pl", "tr", "vi", "hi"]
OWN = ["src/base/json.cpp", "docs/models.md", "src/backend/cpu/runtime.cpp", "tools/check_includes.py", "docs/formats.md", "src/text/tokenizer.cpp",
       "src/files/gguf.cpp", "docs/text.md", "src/engine/scheduler.cpp", "tools/make_model_goldens.py", "src/backend/cuda/sample.cu", "docs/server.md"]
PROSE_BYTES, LANGUAGE_BYTES, OWN_BYTES = 9_000, 3_000, 4_500


def prose(path):
    """Paragraphs and examples, without the marks of the source's format."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"^\.\. .*\n(?:[ \t]+.*\n)*", "", text, flags=re.M)
    text = re.sub(r":[a-z:]+:`~?!?([^`<]*?)(?: <[^`]*>)?`", r"\1", text).replace("``", "`")
    text = re.sub(r"`([^`<]+) <[^`>]+>`__?", r"\1", text)
    parts = [part.strip("\n") for part in re.split(r"\n\s*\n", text)]
    keep = [part for part in parts if len(part) > 60 and not part.lstrip().startswith((".. ", ":", "+-", "==="))]
    return "\n\n".join(part if part.startswith(" ") else " ".join(part.split()) for part in keep)


def messages(path):
    text = path.read_text(encoding="utf-8")
    found = re.findall(r'^msgstr (?:"")?((?:\s*"[^\n]*"\n)+)', text, flags=re.M)
    lines = ["".join(re.findall(r'"(.*)"', message)).replace('\\"', '"').replace("\\n", " ").strip() for message in found[1:]]
    return "\n".join(line for line in lines if len(line) > 25)


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    documents, django = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    chat = (root / "src/builder/data/chat.txt").read_text(encoding="utf-8").strip().split("\n\n")
    turns = len(PROSE)
    out = []
    for i, name in enumerate(PROSE):
        text = prose(documents / f"{name}.rst.txt")
        out.append(text[len(text) // 10 :][:PROSE_BYTES].rsplit("\n\n", 1)[0].split("\n\n", 1)[-1])
        if i < len(LANGUAGES):
            out.append(messages(django / f"conf/locale/{LANGUAGES[i]}/LC_MESSAGES/django.po")[:LANGUAGE_BYTES].rsplit("\n", 1)[0])
        if i < len(OWN):
            text = (root / OWN[i]).read_text(encoding="utf-8")
            out.append(text[len(text) // 5 :][:OWN_BYTES].split("\n", 1)[-1].rsplit("\n", 1)[0])
        out.append("\n\n".join(chat[i * len(chat) // turns : (i + 1) * len(chat) // turns]))
    pathlib.Path(sys.argv[3]).write_text("\n\n".join(part for part in out if part) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
