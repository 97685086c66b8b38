"""What `gemma-operator verify-gpu NAME` asks of a pod, on a real gateway with a scripted engine."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from scripted import Script, ScriptedUpstream

from gemma_operator.cli.endpoint_checks import (
    STREAM_TOKENS,
    ServingPod,
    checked,
    drained,
    kv_tokens,
    streamed,
)
from gemma_operator.kube.errors import error_for
from gemma_serving.contract import FinishReason, GenerateRequest
from serving import Running, config, running

ENDLESS = ("word ",) * 2000
CONSTRAINED = {"[0-9]{3}": ("1", "2", "3"), "one two three four": ("one ", "two "), "(ok)": ("ok",)}
"""What an engine says under each constraint, with the stop string that comes with it."""
SLOW_SECONDS = 0.05
"""Per token of a long answer: it would go on for 20 s, and is free at once when its client leaves."""
LONG = 400
PATIENCE_SECONDS = 30


def faithful(request: GenerateRequest) -> Script:
    if request.structure is not None:
        return Script(CONSTRAINED[str(request.structure.regex)])
    return Script(ENDLESS, delay_seconds=SLOW_SECONDS if request.max_tokens == LONG else 0.001)


@dataclass(frozen=True)
class HttpDoor:
    """A port of this machine, where the command has one of a pod behind the API server."""

    url: str

    async def get(self, path: str) -> dict[str, Any]:
        async with httpx.AsyncClient() as client:
            return self._judged(await client.get(self.url + path))

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        async with httpx.AsyncClient() as client:
            return self._judged(await client.post(self.url + path, json=body))

    async def stream(self, path: str, body: dict[str, Any]) -> AsyncGenerator[str, None]:
        async with (
            httpx.AsyncClient() as client,
            client.stream("POST", self.url + path, json=body) as answer,
        ):
            async for line in answer.aiter_lines():
                yield line

    def _judged(self, answer: httpx.Response) -> dict[str, Any]:
        if answer.status_code >= 400:
            raise error_for(answer.status_code, answer.text, None)
        return dict(answer.json())


async def pod_of(served: Running) -> ServingPod:
    """The pod, once its gateway has had a first answer and read the engine's books."""
    pod = ServingPod("pod", "assistant", HttpDoor(served.url), HttpDoor(served.admin_url))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await pod.admin.get("/health"))["engine"]["kv_cache_total_tokens"] is None:
            await asyncio.sleep(0.05)
    return pod


async def failed(script: Callable[[GenerateRequest], Script], *adapters: str) -> dict[str, str]:
    """Name and reason of each check that does not pass."""
    with running(ScriptedUpstream(script), config(adapters={"legal": "/adapters/legal"})) as served:
        rows = await checked(await pod_of(served), adapters)
    return {row.name: row.measured for row in rows if not row.is_met}


async def test_a_pod_that_keeps_its_promises_passes_every_check() -> None:
    assert await failed(faithful, "legal") == {}


@pytest.mark.parametrize(
    ("regex", "pieces", "name"),
    [
        ("[0-9]{3}", ("a", "bc"), "structured output"),
        ("one two three four", ("one ", "two ", "three"), "stop strings"),
        ("(ok)", ("ok", "<end_of_turn>"), "stop tokens"),
    ],
)
async def test_a_broken_promise_fails_its_own_check(regex: str, pieces: tuple[str, ...], name: str) -> None:
    def unfaithful(request: GenerateRequest) -> Script:
        is_it = request.structure is not None and request.structure.regex == regex
        return Script(pieces) if is_it else faithful(request)

    assert list(await failed(unfaithful)) == [name]


async def test_a_stream_that_breaks_off_is_told_with_the_engines_words() -> None:
    def breaking(request: GenerateRequest) -> Script:
        return faithful(request) if request.structure else Script(ENDLESS, fail_after=3)

    assert "error within the stream" in (await failed(breaking))["streaming"]


async def test_an_answer_shorter_than_asked_fails_the_stream() -> None:
    def short(request: GenerateRequest) -> Script:
        is_stream = request.max_tokens == STREAM_TOKENS
        return Script(("one", "two"), reason=FinishReason.STOP) if is_stream else faithful(request)

    assert list(await failed(short)) == ["streaming"]


async def test_an_adapter_that_the_pod_does_not_list_is_told() -> None:
    assert "assistant:french is not listed" in (await failed(faithful, "french"))["adapter french"]


async def test_other_traffic_is_told_before_anything_is_judged_by_it() -> None:
    with running(ScriptedUpstream(faithful), config()) as served:
        pod = await pod_of(served)
        body = {"model": "assistant", "prompt": "x", "max_tokens": LONG, "stream": True}
        other = pod.api.stream("/v1/completions", body)
        await anext(other)
        rows = {row.name: row for row in await checked(pod, ())}
        await other.aclose()
    assert "other requests are under way" in rows["ready"].measured
    assert not rows["cancelling"].is_met


async def test_a_stream_that_its_pods_end_cuts_short_fails_the_drain() -> None:
    ends: list[str] = []

    async def end() -> None:
        ends.append("asked")

    def cut(request: GenerateRequest) -> Script:
        return Script(("so ", "far"), reason=FinishReason.STOP)

    for script, is_met in ((lambda _: Script(ENDLESS), True), (cut, False)):
        with running(ScriptedUpstream(script), config()) as served:
            assert (await drained(await pod_of(served), end)).is_met == is_met
    assert ends == ["asked", "asked"]


async def test_figures_come_from_the_engines_books() -> None:
    with running(ScriptedUpstream(faithful), config()) as served:
        whole = await streamed(await pod_of(served), 64)
        assert (whole.tokens, whole.finish_reason, whole.text) == (64, "length", "word " * 64)
        assert 0 < whole.tokens_per_second < 1 / 0.001
        assert await kv_tokens(await pod_of(served)) == 4096
