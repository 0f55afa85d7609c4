#!/usr/bin/env python3
"""The official openai and anthropic packages, unchanged, against a server whose model says what it is told.

Usage: clients.py STUB_SERVER. Needs the packages of requirements.txt beside this file; exits 77 without them. Prints "N of N".
"""
import asyncio
import json
import pathlib
import subprocess
import sys
import time

try:
    import anthropic
    import openai
except ImportError:
    print("openai and anthropic are not installed")
    sys.exit(77)

WEATHER = {"type": "function", "function": {"name": "weather", "description": "Of a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
CALL = 'Let me look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Zürich 🏔"}}\n</tool_call>'
THOUGHT = "<think>\nHm, 你好.\n</think>\n\nHello 👩‍🚀!"


class Stub:
    def __init__(self, program, *options):
        self.process = subprocess.Popen([program, *map(str, options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        self.openai = openai.OpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0)
        self.anthropic = anthropic.Anthropic(base_url=self.url, api_key="none", max_retries=0)

    def chat(self, text, **more):
        return self.openai.chat.completions.create(model="echo", messages=[{"role": "user", "content": text}], **more)

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(20) == 0


def models(stub):
    assert [model.id for model in stub.openai.models.list()] == ["echo", "alias"]
    assert stub.openai.models.retrieve("alias").id == "alias"


def chat(stub):
    answer = stub.chat("Hi 👋", seed=1, temperature=0.5, top_p=0.9, n=2, extra_body={"top_k": 5})
    assert [choice.message.content for choice in answer.choices] == ["Hi 👋"] * 2
    assert answer.choices[0].finish_reason == "stop" and answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.system_fingerprint == "quern-test"


def chat_stream(stub):
    text, usage, finish = "", None, None
    for chunk in stub.chat("Hi 👋 there", stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    assert (text, finish) == ("Hi 👋 there", "stop") and usage.completion_tokens == len("Hi 👋 there".encode()) + 1


def reasoning(stub):
    message = stub.chat(THOUGHT).choices[0].message
    assert message.content == "Hello 👩‍🚀!" and message.reasoning_content == "Hm, 你好.", message
    parts = {"reasoning": "", "content": ""}
    for chunk in stub.chat(THOUGHT, stream=True):
        delta = chunk.choices[0].delta
        parts["reasoning"] += getattr(delta, "reasoning_content", None) or ""
        parts["content"] += delta.content or ""
    assert parts == {"reasoning": "Hm, 你好.", "content": "Hello 👩‍🚀!"}, parts


def tools(stub):
    choice = stub.chat(CALL, tools=[WEATHER], tool_choice="auto").choices[0]
    call = choice.message.tool_calls[0]
    assert choice.finish_reason == "tool_calls" and call.function.name == "weather" and choice.message.content == "Let me look."
    assert json.loads(call.function.arguments) == {"city": "Zürich 🏔"}
    arguments, name = "", None
    for chunk in stub.chat(CALL, tools=[WEATHER], stream=True):
        for part in chunk.choices[0].delta.tool_calls or []:
            name = part.function.name or name
            arguments += part.function.arguments or ""
    assert name == "weather" and arguments == call.function.arguments
    history = [{"role": "user", "content": "?"}, choice.message, {"role": "tool", "tool_call_id": call.id, "content": "sun"}, {"role": "user", "content": "ok"}]
    assert stub.openai.chat.completions.create(model="echo", messages=history, tools=[WEATHER]).choices[0].message.content == "ok"


def chat_stream_helper(stub):
    with stub.openai.chat.completions.stream(model="echo", messages=[{"role": "user", "content": "abc"}]) as stream:
        assert stream.get_final_completion().choices[0].message.content == "abc"


def logprobs(stub):
    content = stub.chat("é", logprobs=True, top_logprobs=3).choices[0].logprobs.content
    assert bytes(b for token in content for b in token.bytes).decode() == "é" and len(content[0].top_logprobs) == 3


def completions(stub):
    answer = stub.openai.completions.create(model="echo", prompt=["abc", "x"], max_tokens=3, echo=True, n=2)
    assert [choice.text for choice in answer.choices] == ["abcdef", "abcdef", "xyza", "xyza"]
    assert stub.openai.completions.create(model="echo", prompt=[97, 98], max_tokens=2, logprobs=2).choices[0].logprobs.tokens == ["c", "d"]
    stream = stub.openai.completions.create(model="echo", prompt="abc", max_tokens=3, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == "def"


def responses(stub):
    answer = stub.openai.responses.create(model="echo", input="Hi 👋", instructions="Be brief.", max_output_tokens=100)
    assert answer.output_text == "Hi 👋" and answer.status == "completed" and answer.usage.output_tokens == len("Hi 👋".encode()) + 1
    cut = stub.openai.responses.create(model="echo", input="abcdef", max_output_tokens=2)
    assert cut.status == "incomplete" and cut.incomplete_details.reason == "max_output_tokens" and cut.output_text == "ab"
    tool = dict(WEATHER["function"], type="function")
    called = stub.openai.responses.create(model="echo", input=CALL, tools=[tool])
    assert [item.type for item in called.output] == ["message", "function_call"], called.output
    assert json.loads(called.output[1].arguments) == {"city": "Zürich 🏔"}
    history = [{"role": "user", "content": "?"}, *[item.model_dump() for item in called.output],
               {"type": "function_call_output", "call_id": called.output[1].call_id, "output": "sun"}, {"role": "user", "content": "ok"}]
    assert stub.openai.responses.create(model="echo", input=history, tools=[tool]).output_text == "ok"


def responses_stream(stub):
    for text, kinds in ((THOUGHT, ["reasoning", "message"]), ("abc", ["message"])):
        with stub.openai.responses.stream(model="echo", input=text) as stream:
            events = [event.type for event in stream]
            final = stream.get_final_response()
        assert events[0] == "response.created" and events[-1] == "response.completed", events
        assert [item.type for item in final.output] == kinds, final.output
    assert final.output_text == "abc"


def openai_errors(stub):
    for call, kind, param in (
            (lambda: stub.chat("x", temperature=9), openai.BadRequestError, "temperature"),
            (lambda: stub.openai.chat.completions.create(model="none", messages=[{"role": "user", "content": "x"}]), openai.NotFoundError, "model"),
            (lambda: stub.chat("x" * 10000), openai.BadRequestError, "messages"),
            (lambda: stub.openai.embeddings.create(model="echo", input="x"), openai.BadRequestError, "model")):
        try:
            call()
        except kind as error:
            assert error.param == param and error.request_id, (error, error.param)
        else:
            raise AssertionError(f"no {kind.__name__}")


def asynchronous(stub):
    """Many at once, on one connection pool."""
    async def work():
        client = openai.AsyncOpenAI(base_url=stub.url + "/v1", api_key="none")
        texts = [f"text {i} " * (i % 7 + 1) for i in range(100)]
        answers = await asyncio.gather(*[
            client.chat.completions.create(model="echo", messages=[{"role": "user", "content": text}]) for text in texts])
        assert [answer.choices[0].message.content for answer in answers] == texts
        await client.close()

    asyncio.run(work())


def leaving(stub):
    """A stream that is closed early leaves nothing behind."""
    stream = stub.chat("x" * 3000, stream=True)
    next(iter(stream))
    stream.close()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        load = stub.openai.get("/load".replace("/load", f"{stub.url}/load"), cast_to=object)
        if load["running"] == 0 and load["server_load"] == 0:
            return
        time.sleep(0.02)
    raise AssertionError(load)


def messages(stub):
    answer = stub.anthropic.messages.create(model="echo", max_tokens=100, system="Be brief.", messages=[{"role": "user", "content": "Hi 👋"}])
    assert answer.content[0].text == "Hi 👋" and answer.stop_reason == "end_turn" and answer.usage.output_tokens == len("Hi 👋".encode()) + 1
    cut = stub.anthropic.messages.create(model="echo", max_tokens=2, messages=[{"role": "user", "content": "abcdef"}])
    assert cut.stop_reason == "max_tokens" and cut.content[0].text == "ab"
    stop = stub.anthropic.messages.create(model="echo", max_tokens=50, stop_sequences=["cd"], messages=[{"role": "user", "content": "abcdef"}])
    assert (stop.stop_reason, stop.stop_sequence, stop.content[0].text) == ("stop_sequence", "cd", "ab")
    count = stub.anthropic.messages.count_tokens(model="echo", messages=[{"role": "user", "content": "abcdef"}])
    assert count.input_tokens == cut.usage.input_tokens + (cut.usage.cache_read_input_tokens or 0), count


def messages_stream(stub):
    with stub.anthropic.messages.stream(model="echo", max_tokens=200, messages=[{"role": "user", "content": THOUGHT}]) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop", kinds
    assert [block.type for block in final.content] == ["thinking", "text"], final
    assert final.content[0].thinking == "Hm, 你好." and final.content[1].text == "Hello 👩‍🚀!"
    assert final.usage.input_tokens > 0 and final.usage.output_tokens > 0
    raw = list(stub.anthropic.messages.create(model="echo", max_tokens=9, stream=True, messages=[{"role": "user", "content": "abc"}]))
    assert raw[0].message.usage.input_tokens > 0


def messages_tools(stub):
    tool = {"name": "weather", "description": "Of a city", "input_schema": WEATHER["function"]["parameters"]}
    answer = stub.anthropic.messages.create(model="echo", max_tokens=200, tools=[tool], messages=[{"role": "user", "content": CALL}])
    assert answer.stop_reason == "tool_use" and [block.type for block in answer.content] == ["text", "tool_use"], answer
    assert answer.content[1].input == {"city": "Zürich 🏔"}
    with stub.anthropic.messages.stream(model="echo", max_tokens=200, tools=[tool], messages=[{"role": "user", "content": CALL}]) as stream:
        final = stream.get_final_message()
    assert final.content[1].input == {"city": "Zürich 🏔"}, final
    history = [{"role": "user", "content": "?"}, {"role": "assistant", "content": [block.model_dump() for block in answer.content]},
               {"role": "user", "content": [{"type": "tool_result", "tool_use_id": answer.content[1].id, "content": "sun"}, {"type": "text", "text": "ok"}]}]
    assert stub.anthropic.messages.create(model="echo", max_tokens=50, tools=[tool], messages=history).content[0].text == "ok"


def anthropic_errors(stub):
    for call, kind, name in (
            (lambda: stub.anthropic.messages.create(model="none", max_tokens=5, messages=[{"role": "user", "content": "x"}]), anthropic.NotFoundError,
             "not_found_error"),
            (lambda: stub.anthropic.messages.create(model="echo", max_tokens=5, messages=[{"role": "robot", "content": "x"}]), anthropic.BadRequestError,
             "invalid_request_error")):
        try:
            call()
        except kind as error:
            assert error.body["error"]["type"] == name and error.body["request_id"], error.body
        else:
            raise AssertionError(f"no {kind.__name__}")


TESTS = [models, chat, chat_stream, reasoning, tools, chat_stream_helper, logprobs, completions, responses, responses_stream, openai_errors, asynchronous, leaving, messages,
         messages_stream, messages_tools, anthropic_errors]


def main():
    passed = 0
    stub = Stub(str(pathlib.Path(sys.argv[1]).resolve()), 0.0005)
    for test in TESTS:
        try:
            test(stub)
            passed += 1
            print(f"passed {test.__name__}", flush=True)
        except Exception as error:  # pylint: disable=broad-except
            print(f"FAILED {test.__name__}: {type(error).__name__}: {error}", flush=True)
    stub.close()
    print(f"{passed} of {len(TESTS)} (openai {openai.__version__}, anthropic {anthropic.__version__})")
    return 0 if passed == len(TESTS) else 1


if __name__ == "__main__":
    sys.exit(main())
