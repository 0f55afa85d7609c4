#!/usr/bin/env python3
"""The chat page in a real Chromium, against a server whose model says the user's words back, so that any text can be an answer.

Usage: page.py STUB_SERVER QUERN [--only NAME] [--screenshots FOLDER]. Needs Debian's chromium, chromium-driver and python3-selenium; exits
77 without them. Prints "N of N".
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from page_browser import Shop, Stub  # pylint: disable=wrong-import-position
from selenium.webdriver.common.keys import Keys  # pylint: disable=wrong-import-position

STORIES = pathlib.Path(__file__).resolve().parents[1] / "models" / "stories260K-qwen2"

MARKDOWN = """<think>
The user wants a summary.
</think>

## Hash tables

A *hash table* maps keys to values with a **hash function**; see [the article](https://example.org/hash).

1. Compute the hash
2. Walk the bucket

```python
def lookup(table, key):
    \"\"\"Finds `key`, or returns None.\"\"\"
    for stored, value in table[hash(key) % len(table)]:
        if stored == key:
            return value
    return None
```

| operation | average | worst |
|---|---|---|
| insert | O(1) | O(n) |
| look up | O(1) | O(n) |

> Load factors beyond 0.7 cost time."""

HOSTILE = [
    "<img src=x onerror=hacked=1>",
    "<script>hacked=1</script>",
    "<svg onload=hacked=1><script>hacked=1</script></svg>",
    "[click](javascript:hacked=1) [click](JaVaScRiPt:hacked=1) [click](&#106;avascript:hacked=1) [click](data:text/html,<script>hacked=1</script>)",
    "<a href=\"javascript:hacked=1\">x</a> <a href='vbscript:hacked=1'>x</a>",
    "![x](javascript:hacked=1) ![x\" onerror=\"hacked=1](https://example.org/x.png \"x\\\" onerror=\\\"hacked=1\")",
    "<iframe srcdoc=\"<script>parent.hacked=1</script>\"></iframe><object data=\"data:text/html,x\"></object><embed src=x>",
    "<form action=javascript:hacked=1><button>go</button></form><input autofocus onfocus=hacked=1>",
    "<style>*{display:none}</style><link rel=stylesheet href=//example.org/x.css><base href=//example.org>",
    "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=hacked=1&gt;\">",
    "<b onmouseover=hacked=1>x</b> <br onclick=hacked=1> <details open ontoggle=hacked=1>",
    "```\"><img src=x onerror=hacked=1>\ncode <script>hacked=1</script>\n```",
    "```html class=\"x\" onclick=\"hacked=1\"\n<b>\n```",
    "| <img src=x onerror=hacked=1> |\n|---|\n| <script>hacked=1</script> |",
    "<noscript><p title=\"</noscript><img src=x onerror=hacked=1>\">",
    "<template><script>hacked=1</script></template><body onload=hacked=1><html onclick=hacked=1>",
    "<https://example.org/\"onclick=hacked=1> http://example.org/\"onmouseover=\"hacked=1",
    "<form id=document><input name=getElementById></form><a id=marked></a><img name=DOMPurify>",
    "\x00<scr\x00ipt>hacked=1</scr\x00ipt> \u202e<img/src/onerror=hacked=1>",
]

# Shapes on which parsers of Markdown have been slow or have run out of stack.
HEAVY = [">" * 8000, "[" * 8000, "*a " * 5000, "`" * 6001 + "a", "<" * 8000, "|a" * 4000 + "\n" + "|-" * 4000, "- " * 4000 + "x", "a" * 12000, "![" * 4000,
         "_a_" * 4000, "\\" * 9000, "1. x\n" * 2500, "[a](" * 3000, "<!--" * 3000, "&#1;" * 3000]


def answers_and_keeps(shop):
    page = shop.fresh()
    shop.shoot("empty")
    page.ask(MARKDOWN)
    assert page.text(".prose h2") == "Hash tables" and page.text(".prose strong") == "hash function"
    assert page.text(".prose ol li") == "Compute the hash|Walk the bucket" and page.text(".prose td").startswith("insert|O(1)|O(n)")
    assert page.run("return document.querySelector('.prose a').rel") == "noopener noreferrer nofollow"
    assert page.text(".thinking summary").startswith("Thought for") and "summary" in page.text(".thinking div")
    assert not page.one(".thinking div").is_displayed()
    assert "tokens/s" in page.text(".figures") and "prompt" in page.text(".figures"), page.text(".figures")
    assert page.text("#announcer").startswith("Answer complete")
    shop.shoot("answer")
    page.run("document.querySelector('.code').scrollIntoView({block: 'center'})")
    shop.shoot("code")
    before = page.text("#log")
    page.open(shop.stub.url)
    assert page.text("#log") == before and page.text("#title") == "<think>"
    page.ask("And **again**")
    assert "cached" in page.text(".assistant:last-child .figures"), page.text(".figures")
    messages = page.run("return window.sent.at(-1).messages")
    assert [message["role"] for message in messages] == ["user", "assistant", "user"] and "think" not in messages[1]["content"]


def streams(shop):
    slow = Stub(shop.stub_program, 0.02)
    page = shop.fresh(slow.url)
    page.send("one two three four five six seven eight nine ten " * 2)
    seen = set()
    page.wait(lambda: seen.add(page.text(".prose")) or len(seen) > 5, "pieces of the answer")
    assert page.is_running() and "tokens" in page.text(".figures")
    shop.shoot("answering")
    page.end()
    slow.close()


def stops(shop):
    slow = Stub(shop.stub_program, 0.02)
    page = shop.fresh(slow.url)
    for how in ("button", "escape"):
        page.send("a long answer " * 50)
        page.wait(lambda: len(page.text(".assistant:last-child .prose")) > 5, "the beginning")
        if how == "button":
            page.one("#stop").click()
        else:
            page.one("body").send_keys(Keys.ESCAPE)
        page.end()
        text = page.text(".assistant:last-child .prose")
        assert 5 < len(text) < 400 and page.text(".assistant:last-child .cut") == "Stopped.", (how, text)
        time.sleep(0.3)
        assert page.text(".assistant:last-child .prose") == text
    page.open(slow.url)
    assert page.text(".assistant:last-child .prose") == text
    slow.close()


def answers_again_and_edits(shop):
    page = shop.fresh()
    page.ask("first")
    page.ask("second")
    page.button("Answer again")
    page.end()
    assert page.text(".versions span") == "2/2"
    page.button("The answer before")
    assert page.text(".versions span") == "1/2"
    page.button("Edit", last=False)
    field = page.one(".editor textarea")
    assert field.get_attribute("value") == "first"
    field.send_keys(" changed")
    page.one(".editor .primary").click()
    page.wait(lambda: len(page.find(".message")) == 2, "the rest to go")
    page.end()
    assert page.text(".bubble") == "first changed" and page.text(".prose").strip() == "first changed"
    page.button("Edit this answer")
    field = page.one(".editor textarea")
    field.clear()
    field.send_keys("my own words")
    page.one(".editor .primary").click()
    page.ask("next")
    assert page.run("return window.sent.at(-1).messages[1].content") == "my own words"


def token_alternatives(shop):
    page = shop.fresh()
    page.ask("abcdef")
    page.button("Tokens and their alternatives")
    assert page.text(".tokens button") == "a|b|c|d|e|f"
    page.find(".tokens button")[2].click()
    rows = page.text("#popover .text").split("|")
    assert rows == ["c", "d", "e", "f", "g"] and page.text("#popover .share").startswith("60.7 %"), rows
    shop.shoot("alternatives")
    page.one("body").send_keys(Keys.ESCAPE)
    assert not page.one("#popover").is_displayed()
    page.find(".tokens button")[2].click()
    page.find("#popover button")[1].click()
    page.wait(lambda: page.text(".versions span") == "2/2", "the other answer")
    page.end()
    sent = page.run("return window.sent.at(-1)")
    assert sent["messages"][-1] == {"role": "assistant", "content": "abd"} and sent["continue_final_message"], sent
    assert page.text(".prose").strip() == "abddef", page.text(".prose")


def hostile_answers_run_nothing(shop):
    page = shop.fresh()
    for text in HOSTILE:
        page.type("")
        page.ask(text)
    page.ask("\n\n".join(HOSTILE))
    for element in page.find(".prose a, .prose b, .prose button"):
        page.run("arguments[0].dispatchEvent(new MouseEvent('mouseover', {bubbles: true}))", element)
    links = page.run("return [...document.querySelectorAll('.prose a')].map((a) => [a.protocol, a.target, a.rel])")
    assert links and all(link[0] in ("http:", "https:", "mailto:", ":") and link[1:] == ["_blank", "noopener noreferrer nofollow"] for link in links), links
    names = set(page.run("return [...document.querySelectorAll('.prose *')].map((e) => e.localName)"))
    assert not names & {"script", "img", "iframe", "object", "embed", "style", "link", "base", "form", "input", "template", "body", "math", "details"}, names
    handlers = page.run("return [...document.querySelectorAll('.prose *')].flatMap((e) => e.getAttributeNames()).filter((n) => n.startsWith('on') || n === 'id' || n === 'name' || n === 'style')")
    assert handlers == [], handlers
    assert page.run("return [typeof window.hacked, window.violations.length]") == ["undefined", 0], page.run("return window.violations")
    page.open(shop.stub.url)  # what was kept is as harmless
    assert page.run("return typeof window.hacked") == "undefined" and len(page.find(".prose")) == len(HOSTILE) + 1


def policy_holds(shop):
    """What a hole in the page could not do either."""
    page = shop.fresh()
    for script in ("document.body.insertAdjacentHTML('beforeend', '<b>x</b>')", "document.getElementById('log').innerHTML = '<b>x</b>'",
                   "trustedTypes.createPolicy('mine', {createHTML: (x) => x})", "document.write('x')",
                   "document.body.setAttribute('onclick', 'hacked=1')", "document.body.append(Object.assign(document.createElement('script'), {text: 'hacked=1'}))"):
        message = page.run("try { " + script + "; return '' } catch (error) { return error.name }")
        assert message == "TypeError", (script, message)
    page.driver.set_script_timeout(20)
    reach = page.driver.execute_async_script("const done = arguments[0]; fetch('http://127.0.0.1:9/').then(() => done('reached'), (e) => done(e.name))")
    assert reach == "TypeError" and page.run("return typeof window.hacked") == "undefined"
    assert {"connect-src", "require-trusted-types-for"} <= set(page.run("return window.violations")), page.run("return window.violations")
    hosts = page.run("return performance.getEntriesByType('resource').map((e) => new URL(e.name).origin).filter((o) => o !== origin && o !== 'null')")
    assert hosts in ([], ["http://127.0.0.1:9"]), hosts


def heavy_answers(shop):
    """Answers that are long, or slow to parse, do not hold the page up: imported ones at once, and one that streams."""
    page = shop.fresh()
    page.run("""window.longest = 0;
      new PerformanceObserver((list) => list.getEntries().forEach((e) => (window.longest = Math.max(window.longest, e.duration)))).observe({type: 'longtask'})""")
    texts = HEAVY + [("**a*b " * 60 + "\n\n") * 100, "word and `code` and **bold** text\n\n" * 5000, "```\n" + "x = [1]\n" * 50000]
    chats = [{"title": f"heavy {i}", "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "x\n\n" + text}]} for i, text in enumerate(texts)]
    file = shop.folder / "heavy.json"
    file.write_text(json.dumps({"conversations": chats}), encoding="utf-8")
    page.one("#import-file").send_keys(str(file))
    page.wait(lambda: len(page.find("#conversations li")) == len(texts), "the import")
    for i, text in enumerate(texts):
        page.run("window.longest = 0; document.querySelectorAll('#conversations .open')[arguments[0]].click()", i)
        time.sleep(0.1)
        longest = page.run("return window.longest")
        assert longest < 5000, f"{text[:20]!r} holds the page up for {longest:.0f} ms"
        shown = page.run("return document.querySelector('.prose').textContent.length")
        assert shown > 1000, (i, shown, len(text))
    page = shop.fresh()
    page.ask("word and `code` and **bold** text\n\n" * 250)
    assert len(page.find(".prose strong")) == 250


def settings_are_sent(shop):
    page = shop.fresh()
    page.one("#open-settings").click()
    page.one("#system").send_keys("Be brief.")
    for name, value in (("temperature", "0.5"), ("top_p", "0.9"), ("top_k", "40"), ("min_p", "0.05"), ("max_tokens", "7"), ("seed", "11")):
        page.one("#" + name).send_keys(value)
    shop.shoot("settings")
    page.one("#close-settings").click()
    page.ask("a long text, cut")
    sent = page.run("return window.sent.at(-1)")
    assert {name: sent.get(name) for name in ("temperature", "top_p", "top_k", "min_p", "max_tokens", "seed")} == {
        "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "max_tokens": 7, "seed": 11}, sent
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."} and sent["logprobs"] and sent["top_logprobs"] == 5
    assert page.text(".prose").strip() == "a long" and "its length" in page.text(".cut")
    page.one("#open-settings").click()
    page.run("document.getElementById('temperature').value = ''; document.getElementById('temperature').dispatchEvent(new Event('input', {bubbles: true}))")
    page.one("#temperature").send_keys("7")  # outside its range: not sent
    page.one("#alternatives").click()
    page.run("document.getElementById('thinking').value = 'off'; document.getElementById('thinking').dispatchEvent(new Event('input', {bubbles: true}))")
    page.one("#close-settings").click()
    page.ask("more")
    sent = page.run("return window.sent.at(-1)")
    assert "temperature" not in sent and "logprobs" not in sent and sent["chat_template_kwargs"] == {"enable_thinking": False}, sent


def conversations(shop):
    page = shop.fresh()
    page.ask("alpha")
    page.one("#new-chat").click()
    assert page.one("#empty").is_displayed()
    page.ask("beta")
    assert page.text("#conversations .open") == "beta|alpha"
    page.find("#conversations .open")[1].click()
    assert page.text(".bubble") == "alpha"
    page.one("#export-all").click()
    file = shop.folder / "profile" / "quern-conversations.json"
    page.wait(file.exists, "the exported file")
    data = json.loads(file.read_text(encoding="utf-8"))
    assert [each["title"] for each in data["conversations"]] == ["beta", "alpha"]
    data["conversations"][0]["messages"][0]["content"] = {"not": "a text"}
    data["conversations"].append({"messages": 7})
    file.write_text(json.dumps(data), encoding="utf-8")
    page.button("Delete alpha")
    page.one("#confirm-yes").click()
    page.wait(lambda: page.text("#conversations .open") == "beta", "the conversation to go")
    page.one("#import-file").send_keys(str(file))
    page.wait(lambda: len(page.find("#conversations li")) == 3, "the imported ones")
    page.one("#delete-all").click()
    page.one("#confirm-yes").click()
    page.wait(lambda: not page.find("#conversations li"), "all to go")
    assert page.run("return Object.keys(localStorage).filter((key) => key.startsWith('quern.chat.'))") == []


def keyboard(shop):
    page = shop.fresh()
    field = page.one("#input")
    field.send_keys("one", Keys.SHIFT, Keys.ENTER, Keys.NULL, "two", Keys.ENTER)
    page.wait(lambda: page.find(".assistant"), "the message")
    page.end()
    assert page.text(".bubble") == "one\ntwo"
    page.one("#input").send_keys(Keys.ARROW_UP)
    assert page.one(".editor textarea").get_attribute("value") == "one\ntwo"
    page.one(".editor textarea").send_keys(Keys.ESCAPE)
    assert not page.find(".editor")
    page.one("body").send_keys(Keys.CONTROL, "/")
    assert page.one("#keys").is_displayed()
    shop.shoot("keyboard")
    page.one("#keys").send_keys(Keys.ESCAPE)
    page.one("body").send_keys(Keys.CONTROL, ",")
    assert page.one("#settings").is_displayed()
    page.one("body").send_keys(Keys.ESCAPE)
    assert not page.one("#settings").is_displayed()
    page.one("body").send_keys(Keys.CONTROL, Keys.SHIFT, "o")
    assert page.one("#empty").is_displayed()


def everything_has_a_name(shop):
    """Labels, and contrast of text in both appearances (WCAG AA: 4.5)."""
    page = shop.fresh()
    page.ask(MARKDOWN)
    page.one("#open-settings").click()
    for node in page.command("Accessibility.getFullAXTree")["nodes"]:
        role, name = node.get("role", {}).get("value"), node.get("name", {}).get("value", "")
        if role in ("button", "textbox", "combobox", "checkbox", "spinbutton", "dialog", "link") and not node.get("ignored"):
            assert name != "", node
    script = """
    const luminance = (color) => { const c = document.createElement('canvas').getContext('2d'); c.fillStyle = color; c.fillRect(0, 0, 1, 1);
      const [r, g, b] = [...c.getImageData(0, 0, 1, 1).data].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const probe = document.createElement('p'); document.body.append(probe);
    const value = (name) => { probe.style.color = `var(--${name})`; return luminance(getComputedStyle(probe).color); };
    return arguments[0].map(([a, b]) => [a, b, (Math.max(value(a), value(b)) + 0.05) / (Math.min(value(a), value(b)) + 0.05)]);"""
    pairs = [[text, ground] for text in ("text", "muted") for ground in ("page", "panel", "raised", "bubble", "hover")]
    pairs += [["on-accent", "accent"], ["accent", "page"], ["accent", "raised"], ["danger", "danger-page"]]
    for theme in ("light", "dark"):
        page.run("const t = document.getElementById('theme'); t.value = arguments[0]; t.dispatchEvent(new Event('input', {bubbles: true}))", theme)
        low = [pair for pair in page.run(script, pairs) if pair[2] < 4.5]
        assert low == [], (theme, low)


def phone_and_dark(shop):
    page = shop.page
    try:
        page.set_screen(1280, 860, dark=True)
        shop.fresh().ask(MARKDOWN)
        shop.shoot("dark")
        page.set_screen(390, 844)
        page = shop.fresh()
        shop.shoot("phone-empty")
        page.ask(MARKDOWN)
        shop.shoot("phone")
        assert page.run("return document.documentElement.scrollWidth <= innerWidth && document.getElementById('scroll').scrollWidth <= innerWidth")
        assert not page.one("#sidebar").is_displayed()
        page.one("#open-sidebar").click()
        shop.shoot("phone-list")
        page.find("#conversations .open")[0].click()
        assert not page.one("#sidebar").is_displayed()
    finally:
        shop.page.set_screen(1280, 860)


def failures_are_shown(shop):
    slow = Stub(shop.stub_program, 0.02)
    page = shop.fresh(slow.url)
    page.ask("x" * 5000)  # longer than its context
    assert "context" in page.text(".failure span"), page.text("#log")[-300:]
    page.one("#new-chat").click()
    page.send("a long answer " * 20)
    page.wait(lambda: len(page.text(".assistant:last-child .prose")) > 5, "the beginning")
    slow.close()
    page.end()
    assert "server" in page.text(".assistant:last-child .failure span"), page.text(".failure")
    shop.shoot("failure")
    page.button("Answer again")
    page.end()
    assert "cannot be reached" in page.text(".assistant:last-child .failure span"), page.text(".failure")


def key_and_text_model(shop):
    """A server that asks for a key, and a model without a chat format."""
    engine = shop.folder / "stories.quern"
    subprocess.run([shop.quern, "build", STORIES, "-o", engine], env=dict(os.environ, XDG_CACHE_HOME=str(shop.folder / "cache")), check=True, capture_output=True)
    process = subprocess.Popen([shop.quern, "serve", engine, "--port", "0", "--device", "cpu", "--api-key", "alpha"], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "serving on" in line:
            break
    url = line.split("serving on ")[1].split(" ")[0] + "/"
    try:
        page = shop.page
        page.driver.get(url)
        page.wait(lambda: "API key" in page.text("#notice") and page.one("#settings").is_displayed(), "the question for a key")
        page.one("#key").send_keys("alpha", Keys.ENTER)
        page.run("document.getElementById('key').blur()")
        page.wait(lambda: page.find("#model option"), "the models")
        assert page.run("return Object.values(localStorage).join().includes('alpha')") is False
        assert "no chat format" in page.text("#about"), page.text("#about")
        page.one("#close-settings").click()
        page.ask("Once upon a time")
        assert len(page.text(".prose")) > 50 and page.text(".failure") == "", page.text("#log")
        assert int(page.text(".figures").split(" ")[0]) > 10, page.text(".figures")
        page.button("Tokens and their alternatives")
        assert len(page.find(".tokens button")) > 10
    finally:
        process.terminate()
        process.wait(60)


TESTS = [answers_and_keeps, streams, stops, answers_again_and_edits, token_alternatives, hostile_answers_run_nothing, policy_holds, heavy_answers,
         settings_are_sent, conversations, keyboard, everything_has_a_name, phone_and_dark, failures_are_shown, key_and_text_model]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("stub")
    parser.add_argument("quern")
    parser.add_argument("--only")
    parser.add_argument("--screenshots")
    options = parser.parse_args()
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        print("chromium is not installed (apt-get install chromium chromium-driver)")
        return 77
    tests = [test for test in TESTS if options.only in (None, test.__name__)]
    passed = 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        shop = Shop(os.path.abspath(options.stub), os.path.abspath(options.quern), folder, options.screenshots)
        for test in tests:
            start = time.monotonic()
            try:
                test(shop)
                passed += 1
                print(f"passed {test.__name__} {time.monotonic() - start:.1f} s", flush=True)
            except Exception as error:  # pylint: disable=broad-except
                print(f"FAILED {test.__name__}: {type(error).__name__}: {str(error)[:600]}", flush=True)
        shop.close()
    print(f"{passed} of {len(tests)}")
    return 0 if passed == len(tests) else 1


if __name__ == "__main__":
    sys.exit(main())
