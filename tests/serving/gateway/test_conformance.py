"""Real Triton, real Gemma 3 270M: the clients that people have, unchanged."""

import asyncio
import json
import random
import time

import httpx
import openai
import pytest

from gemma_serving.engines.families import BOS_ID
from gemma_serving.gateway.upstream import TritonUpstream
from serving import running
from support.triton_runtime import TritonServer, gemma_270m_config

pytestmark = pytest.mark.triton
PROMPT = "The capital of France is"
MESSAGES = [{"role": "user", "content": "Write a story about a fox."}]


def until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    settings = gemma_270m_config(max_queued_requests=1000, request_timeout_seconds=300)
    with (
        TritonServer(settings, tmp_path_factory.mktemp("triton")) as triton,
        running(lambda: TritonUpstream(triton.grpc_url), settings) as served,
    ):
        until(lambda: httpx.get(f"{served.admin_url}/readyz").status_code == 200, 60)
        yield served


@pytest.fixture(scope="module")
def client(door):
    return openai.OpenAI(base_url=f"{door.url}/v1", api_key="none", max_retries=0, timeout=120)


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["demo"]
    assert client.models.retrieve("demo").id == "demo"


def test_a_greedy_completion_is_the_same_whole_and_streamed(client):
    fields = {"model": "demo", "prompt": PROMPT, "max_tokens": 12, "temperature": 0}
    whole = client.completions.create(**fields)
    streamed = list(client.completions.create(**fields, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices) == whole.choices[0].text
    assert streamed[-1].usage == whole.usage
    assert whole.usage.completion_tokens == 12
    assert whole.choices[0].finish_reason == "length"
    assert "France" in whole.choices[0].text


def test_a_prompt_with_bos_is_the_prompt_without(client):
    """FO-22."""
    fields = {"model": "demo", "max_tokens": 8, "temperature": 0}
    plain = client.completions.create(prompt=PROMPT, **fields)
    marked = client.completions.create(prompt=f"<bos>{PROMPT}", **fields)
    assert marked.choices[0].text == plain.choices[0].text
    assert marked.usage.prompt_tokens == plain.usage.prompt_tokens


def test_batches_keep_their_order(client):
    prompts = [PROMPT, "Two plus two is", PROMPT]
    answer = client.completions.create(model="demo", prompt=prompts, max_tokens=6, temperature=0)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.choices[0].text == answer.choices[2].text != answer.choices[1].text


def test_chat_whole_and_streamed_are_equal(client):
    fields = {"model": "demo", "messages": MESSAGES, "max_tokens": 16, "temperature": 0, "seed": 1}
    whole = client.chat.completions.create(**fields)
    text = "".join(
        c.choices[0].delta.content or "" for c in client.chat.completions.create(**fields, stream=True)
    )
    assert text == whole.choices[0].message.content
    assert "<end_of_turn>" not in text


async def test_the_asynchronous_client_streams(door):
    async with openai.AsyncOpenAI(base_url=f"{door.url}/v1", api_key="none") as client:
        stream = await client.chat.completions.create(
            model="demo", messages=MESSAGES, max_tokens=8, stream=True
        )
        reasons = [chunk.choices[0].finish_reason async for chunk in stream]
    assert reasons[-1] in ("length", "stop")


def test_logprobs_have_their_alternatives(client):
    answer = client.chat.completions.create(
        model="demo", messages=MESSAGES, max_tokens=4, temperature=0, logprobs=True, top_logprobs=3
    )
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) == 4
    assert all(len(token.top_logprobs) == 3 and token.logprob <= 0 for token in tokens)


def test_stop_strings_end_the_answer_and_are_not_in_it(client):
    answer = client.completions.create(
        model="demo", prompt="1, 2, 3, 4,", max_tokens=40, temperature=0, stop=[" 7"]
    )
    assert " 7" not in answer.choices[0].text
    assert answer.choices[0].finish_reason == "stop"


def test_a_json_schema_is_kept(client):
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "ok": {"type": "boolean"}},
        "required": ["n", "ok"],
    }
    answer = client.chat.completions.create(
        model="demo",
        messages=MESSAGES,
        max_tokens=200,
        temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    )
    if answer.choices[0].finish_reason == "stop":
        data = json.loads(answer.choices[0].message.content)
        assert isinstance(data["n"], int)
        assert isinstance(data["ok"], bool)


def test_a_named_tool_is_called_with_valid_arguments(client):
    parameters = {"type": "object", "properties": {"unit": {"enum": ["C", "F"]}}, "required": ["unit"]}
    answer = client.chat.completions.create(
        model="demo",
        messages=MESSAGES,
        max_tokens=60,
        temperature=0,
        tools=[{"type": "function", "function": {"name": "weather", "parameters": parameters}}],
        tool_choice={"type": "function", "function": {"name": "weather"}},
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    call = answer.choices[0].message.tool_calls[0]
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["unit"] in ("C", "F")


def test_a_choice_is_one_of_the_given(client):
    answer = client.chat.completions.create(
        model="demo", messages=MESSAGES, max_tokens=10, extra_body={"guided_choice": ["red", "green"]}
    )
    assert answer.choices[0].message.content in ("red", "green")


def test_too_long_a_prompt_is_a_bad_request_with_both_numbers(client):
    for streamed in (False, True):
        with pytest.raises(openai.BadRequestError, match=r"1024") as caught:
            client.completions.create(model="demo", prompt="word " * 3000, max_tokens=3, stream=streamed)
        assert caught.value.code == "context_length_exceeded"


def test_tokens_are_counted_as_they_are_used(door, client):
    answer = httpx.post(f"{door.url}/tokenize", json={"model": "demo", "prompt": PROMPT}).json()
    used = client.completions.create(model="demo", prompt=PROMPT, max_tokens=1).usage.prompt_tokens
    assert answer["count"] == len(answer["tokens"]) == used
    assert answer["tokens"][0] == BOS_ID
    by_ids, by_text = (
        client.completions.create(model="demo", prompt=prompt, max_tokens=4, temperature=0)
        for prompt in (answer["tokens"], PROMPT)
    )
    assert by_ids.choices[0].text == by_text.choices[0].text, "the ids are the prompt"
    chat = httpx.post(f"{door.url}/tokenize", json={"model": "demo", "messages": MESSAGES}).json()["count"]
    assert (
        chat
        == client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=1).usage.prompt_tokens
    )


def test_langchain_streams_and_answers(door):
    chat_models = pytest.importorskip("langchain_openai")
    model = chat_models.ChatOpenAI(
        base_url=f"{door.url}/v1", api_key="none", model="demo", max_tokens=8, temperature=0
    )
    whole = model.invoke("Write a story about a fox.")
    streamed = "".join(str(chunk.content) for chunk in model.stream("Write a story about a fox."))
    assert whole.content == streamed
    assert whole.usage_metadata["output_tokens"] == 8


def test_litellm_streams_and_answers(door):
    litellm = pytest.importorskip("litellm")
    fields = {"model": "openai/demo", "api_base": f"{door.url}/v1", "api_key": "none", "messages": MESSAGES}
    fields |= {"max_tokens": 8, "temperature": 0}
    whole = litellm.completion(**fields).choices[0].message.content
    streamed = "".join(
        chunk.choices[0].delta.content or "" for chunk in litellm.completion(**fields, stream=True)
    )
    assert whole == streamed


def test_a_thousand_clients_that_leave_at_random_leak_nothing(door):
    """Some go before their first byte, some amid their stream, some stay to the end."""
    chances = random.Random(7)
    body = {"model": "demo", "prompt": PROMPT, "max_tokens": 30, "stream": True}

    async def one(client, patience):
        try:
            async with asyncio.timeout(patience):
                async with client.stream("POST", f"{door.url}/v1/completions", json=body) as answer:
                    async for _ in answer.aiter_bytes():
                        pass
        except (TimeoutError, httpx.TransportError):
            return "left"
        return "stayed"

    async def crowd():
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(timeout=300, limits=limits) as client:
            patience = [None if chances.random() < 0.03 else chances.uniform(0, 5) for _ in range(1000)]
            return await asyncio.gather(*(one(client, each) for each in patience))

    ends = asyncio.run(crowd())
    assert ends.count("left") >= 500
    assert ends.count("stayed") >= 10
    admission = door.gateway.engine.admission
    until(lambda: (admission.running, admission.waiting) == (0, 0), 2)

    async def engine_idle():
        return (await door.gateway.engine.upstream.stats()).running

    idle = lambda: asyncio.run_coroutine_threadsafe(engine_idle(), door.loop).result(10) == 0  # noqa: E731
    until(idle, 2)
    assert (
        httpx.post(f"{door.url}/v1/completions", json={**body, "stream": False}, timeout=60).status_code
        == 200
    )
    print(f"{ends.count('left')} of 1000 left; slots and engine were idle within 2 s each")
