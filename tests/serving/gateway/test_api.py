"""The API's edges, as openai-python and plain HTTP meet them."""

import json

import httpx
import openai
import pytest
from scripted import Script, ScriptedUpstream

from serving import config, running

MESSAGES = [{"role": "user", "content": "hi"}]
BODY = {"model": "assistant", "messages": MESSAGES}


@pytest.fixture(scope="module")
def door():
    upstream = ScriptedUpstream(lambda _: Script(["x"] * 10))
    with running(
        upstream, config(max_concurrent_requests=16, adapters={"legal": "/adapters/legal"})
    ) as served:
        yield served, upstream


def post(door, body, path="chat/completions"):
    content = body if isinstance(body, bytes) else json.dumps(body)
    return httpx.post(f"{door[0].url}/v1/{path}", content=content, timeout=30)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 0}, "n"),
        ({"temperature": 9}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": ""}, "stop"),
        ({"logit_bias": {"x": 1}}, "logit_bias.x"),
        ({"logit_bias": {"5": 101}}, "logit_bias"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 50, "max_completion_tokens": 5}, "max_tokens"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"max_token": 3}, "max_token"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "json_object"}, "guided_regex": "a"}, "guided_regex"),
    ],
)
def test_a_bad_field_is_400_with_its_name_whole_or_streamed(door, fields, param, streamed):
    """FO-18."""
    refused = post(door, {**BODY, **fields, "stream": streamed})
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param


@pytest.mark.parametrize(
    "body", [b"", b"not json", b"[]", b"nan", b'{"model": NaN}', b"\xff", b'"\\ud800"', b"[" * 100000]
)
def test_a_body_that_is_no_json_object_is_400(door, body):
    """FO-18."""
    assert post(door, body).json()["error"]["code"] == "invalid_json"


def test_half_a_surrogate_pair_is_400(door):
    assert post(door, b'{"model": "assistant", "prompt": "\\ud800"}', "completions").status_code == 400


def test_a_body_that_is_too_large_is_413(door):
    """FO-18."""
    assert post(door, b"x" * (33 * 2**20)).status_code == 413


def test_the_sdk_raises_its_own_errors(door):
    """FO-18."""
    client = openai.OpenAI(base_url=f"{door[0].url}/v1", api_key="none", max_retries=0)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="assistant", messages=MESSAGES, n=0, stream=True)
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("limits", "tokens", "reason"),
    [
        ({}, 10, "stop"),
        ({"max_completion_tokens": 5}, 5, "length"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, 5, "length"),
        ({"max_tokens": None}, 10, "stop"),
        ({"max_tokens": 100_000}, 10, "stop"),
    ],
)
def test_limits_and_finish_reasons(door, limits, tokens, reason):
    """FO-17."""
    answer = post(door, {**BODY, **limits}).json()
    assert answer["model"] == "assistant"
    assert answer["usage"]["completion_tokens"] == tokens
    assert answer["choices"][0]["finish_reason"] == reason


def test_completions_default_to_sixteen_tokens(door):
    """FO-17."""
    post(door, {"model": "assistant", "prompt": "x"}, "completions")
    assert door[1].requests[-1].max_tokens == 16


def test_adapters_are_models_of_their_own(door):
    names = [model["id"] for model in httpx.get(f"{door[0].url}/v1/models").json()["data"]]
    assert names == ["assistant", "assistant:legal"]
    answer = post(door, {**BODY, "model": "assistant:legal"}).json()
    assert answer["model"] == "assistant:legal"
    assert door[1].requests[-1].adapter == "legal"
    assert post(door, {**BODY, "model": "assistant:other"}).status_code == 404


def test_the_variants_sampling_is_the_default_and_the_callers_wins(door):
    sampling = {"temperature": 0, "top_k": -1, "seed": 3, "min_p": 0.1, "logit_bias": {"5": -100}}
    post(door, {**BODY, **sampling})
    request = door[1].requests[-1]
    assert request.logit_bias == {"5": -100}
    assert (request.temperature, request.top_k, request.seed, request.min_p) == (0, 0, 3, 0.1)


def test_structured_answers_reach_the_engine(door):
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/b"}},
        "$defs": {"b": {"type": "integer"}},
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    assert post(door, {**BODY, "response_format": wanted}).status_code == 200
    assert door[1].requests[-1].structure.json_schema == schema
    post(door, {**BODY, "guided_choice": ['a "b"', "c"]})
    assert door[1].requests[-1].structure.grammar == 'root ::= "a \\"b\\"" | "c"'
    post(door, {"model": "assistant", "prompt": "x", "guided_regex": "[0-9]+"}, "completions")
    assert door[1].requests[-1].structure.regex == "[0-9]+"


@pytest.mark.parametrize(
    "schema",
    [
        {"not": {}},
        {"type": "thing"},
        {"properties": {"a": {"patternProperties": {}}}},
        {"$ref": "https://x"},
        {"anyOf": {}},
    ],
)
def test_schema_keywords_that_an_engine_might_ignore_are_refused(door, schema):
    refused = post(door, {**BODY, "guided_json": schema})
    assert refused.json()["error"]["code"] == "invalid_json_schema"


def test_health_and_performance_tell_what_happened(door):
    assert [post(door, BODY).status_code for _ in range(3)] == [200, 200, 200]
    health = httpx.get(f"{door[0].url}/health").json()
    assert health["queue"]["slots"] == 16
    assert {"status", "reasons", "engine", "memory"} <= set(health)
    record = httpx.get(f"{door[0].url}/v1/performance", params={"last": 3, "export": "true"}).json()
    assert record["requests"] == len(record["entries"]) == 3
    assert record["success_percent"] == 100
    assert record["ttft_seconds"]["p95"] <= record["latency_seconds"]["p95"]


def test_endpoint_pickers_find_their_names_where_it_was_switched_on():
    with running(ScriptedUpstream(), config(endpoint_picker_aliases=True)) as served:
        deadline = 200
        while deadline and "vllm:kv_cache_usage_perc" not in httpx.get(f"{served.admin_url}/metrics").text:
            deadline -= 1
        page = httpx.get(f"{served.admin_url}/metrics").text
    for name in ("vllm:num_requests_waiting", "vllm:num_requests_running", "vllm:kv_cache_usage_perc"):
        assert f'{name}{{model_name="assistant"}}' in page
