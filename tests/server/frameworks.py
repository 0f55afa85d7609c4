#!/usr/bin/env python3
"""LangChain and LiteLLM, unchanged, against a server whose model says what it is told.

Usage: frameworks.py STUB_SERVER. Needs langchain-openai 1.7.4, langchain-anthropic 1.7.10 and litellm 1.110.2 (PyPI); exits 77 without them.
Prints "N of N".
"""
import asyncio
import os
import pathlib
import subprocess
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # fetches nothing
try:
    import litellm
    from langchain_anthropic import ChatAnthropic
    from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI, OpenAI
    from pydantic import BaseModel
except ImportError as missing:
    print(f"not installed: {missing.name}")
    sys.exit(77)


class Pet(BaseModel):
    name: str
    age: int | None
    tags: list[str]


@tool
def weather(city: str) -> str:
    """Weather of a city."""
    return "sun in " + city


TOM = Pet(name="Tom", age=3, tags=["a"])
SAID = '{"name": "Tom", "age": 3, "tags": ["a"]}'
CALL = 'Let me look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Zürich"}}\n</tool_call>'
PET_CALL = '<tool_call>\n{"name": "Pet", "arguments": ' + SAID + "}\n</tool_call>"


def joined(chunks):
    total = None
    for chunk in chunks:
        total = chunk if total is None else total + chunk
    return total


class Frameworks:
    def __init__(self, program):
        self.process = subprocess.Popen([program, "0.0005", "32", "4096", "4096"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(20) == 0

    def llm(self, **more):
        return ChatOpenAI(base_url=self.url + "/v1", api_key="none", model="echo", max_retries=0, **more)

    def test_langchain_chat(self):
        answer = self.llm(temperature=0, seed=1, stop=["zz"]).invoke([SystemMessage("Be brief."), HumanMessage("Hi 👋")])
        assert answer.content == "Hi 👋" and answer.usage_metadata["output_tokens"] > 0, answer
        whole = joined(self.llm(stream_usage=True).stream("Hello there"))
        assert whole.content == "Hello there" and whole.usage_metadata["output_tokens"] > 0, whole
        assert len(self.llm(logprobs=True, top_logprobs=2, n=2).generate([[HumanMessage("abc")]]).generations[0]) == 2

    def loop_of_tools(self, llm):
        """A call, its result, and the answer to that."""
        call = llm.invoke(CALL)
        assert call.tool_calls[0]["args"] == {"city": "Zürich"}, call
        result = ToolMessage(weather.invoke(call.tool_calls[0]["args"]), tool_call_id=call.tool_calls[0]["id"])
        assert "ok" in str(llm.invoke([HumanMessage("?"), call, result, HumanMessage("ok")]).content)
        assert joined(llm.stream(CALL)).tool_calls[0]["args"] == {"city": "Zürich"}

    def test_langchain_tools(self):
        self.loop_of_tools(self.llm().bind_tools([weather]))
        for strict in (None, True):
            forced = self.llm(max_tokens=300).bind_tools([weather], tool_choice="weather", strict=strict)
            assert forced.invoke(CALL.split("\n", 1)[1]).tool_calls[0]["args"] == {"city": "Zürich"}
        assert self.llm(max_tokens=300).bind_tools([weather], tool_choice="any", parallel_tool_calls=False).invoke("x").response_metadata

    def test_langchain_structured_output(self):
        for method, said in (("json_schema", SAID), ("json_mode", SAID), ("function_calling", PET_CALL)):
            assert self.llm().with_structured_output(Pet, method=method).invoke(said) == TOM, method
        assert list(self.llm().with_structured_output(Pet, method="json_schema").stream(SAID))[-1] == TOM

    def test_langchain_responses(self):
        llm = self.llm(use_responses_api=True)
        assert "Hello there" in str(joined(llm.stream("Hello there")).content)
        self.loop_of_tools(llm.bind_tools([weather]))
        assert llm.with_structured_output(Pet).invoke(SAID) == TOM

    def test_langchain_completions(self):
        llm = OpenAI(base_url=self.url + "/v1", api_key="none", model="echo", max_tokens=3)
        assert llm.invoke("abc") == "def" == "".join(llm.stream("abc"))

    def test_langchain_batches(self):
        texts = [f"text {i}" for i in range(50)]
        assert [answer.content for answer in asyncio.run(self.llm().abatch(texts))] == texts

    def test_langchain_anthropic(self):
        llm = ChatAnthropic(base_url=self.url, api_key="none", model="echo", max_tokens=200, max_retries=0)
        assert llm.invoke("Hi").content == "Hi" and "Hello there" in str(joined(llm.stream("Hello there")).content)
        self.loop_of_tools(llm.bind_tools([weather]))
        assert llm.with_structured_output(Pet).invoke(PET_CALL) == TOM
        assert llm.get_num_tokens_from_messages([HumanMessage("abc")]) > 0

    def test_litellm(self):
        litellm.suppress_debug_info = True

        def ask(text, model="openai/echo", base="/v1", **more):
            return litellm.completion(model=model, api_base=self.url + base, api_key="none", messages=[{"role": "user", "content": text}], **more)

        assert ask("Hi").choices[0].message.content == "Hi"
        assert "".join(chunk.choices[0].delta.content or "" for chunk in ask("Hi you", "hosted_vllm/echo", stream=True)) == "Hi you"
        assert Pet.model_validate_json(ask(SAID, response_format=Pet).choices[0].message.content) == TOM
        assert ask("Hi", "anthropic/echo", "", max_tokens=50).choices[0].message.content == "Hi"
        assert litellm.text_completion(model="text-completion-openai/echo", api_base=self.url + "/v1", api_key="none", prompt="abc",
                                       max_tokens=3).choices[0].text == "def"
        try:
            ask("x" * 9000)
        except litellm.ContextWindowExceededError:
            return
        raise AssertionError("an endless prompt was taken")


def main():
    frameworks = Frameworks(str(pathlib.Path(sys.argv[1]).resolve()))
    tests = [name for name in dir(frameworks) if name.startswith("test_")]
    passed = 0
    for name in tests:
        try:
            getattr(frameworks, name)()
            passed += 1
            print(f"passed {name}", flush=True)
        except Exception as error:  # pylint: disable=broad-except
            print(f"FAILED {name}: {type(error).__name__}: {error}", flush=True)
    frameworks.close()
    print(f"{passed} of {len(tests)}")
    return 0 if passed == len(tests) else 1


if __name__ == "__main__":
    sys.exit(main())
