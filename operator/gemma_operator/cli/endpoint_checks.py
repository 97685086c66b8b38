"""What a running pod promises, asked at its door: streams, stops, log probabilities, adapters, cancelling."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from gemma_operator.api.manifest import Manifest
from gemma_operator.cli.verdicts import Row
from gemma_operator.kube.errors import ClusterError

COMPLETIONS = "/v1/completions"
PROMPT = "The capital of France is"
STREAM_TOKENS = 64
LONG_TOKENS = 400
"""Longer than it takes to cancel."""
DRAIN_TOKENS = 128
"""Longer than it takes to delete a pod, and well within a request's time on a slow machine."""
FREE_SECONDS = 5.0
"""Within which a cancelled sequence must be gone; the gateway asks the engine once a second."""
POLL_SECONDS = 0.1
SERVING_STATES = ("ok", "degraded")


class CheckFailedError(Exception):
    """What the pod did is not what it promises; the text is for the table."""


class Door(Protocol):
    """One port of a pod."""

    async def get(self, path: str) -> Manifest:
        """A JSON document."""

    async def post(self, path: str, body: Manifest) -> Manifest:
        """The answer to a JSON body."""

    def stream(self, path: str, body: Manifest) -> AsyncGenerator[str, None]:
        """Lines of the answer to a JSON body, as they come."""


@dataclass(frozen=True, slots=True)
class ServingPod:
    """One replica: its API, and its admin port."""

    name: str
    model: str
    """Name that requests ask for."""
    api: Door
    admin: Door


@dataclass(frozen=True, slots=True)
class Streamed:
    """A whole stream."""

    text: str
    chunks: int
    """Events with text."""
    finish_reason: str | None
    tokens: int
    """Generated, as the usage event says."""
    seconds: float
    """From the first text to the last."""

    @property
    def tokens_per_second(self) -> float:
        """Of this stream, once it has begun; 0 where it came in one piece."""
        return (self.tokens - 1) / self.seconds if self.seconds > 0 else 0.0


async def check(name: str, run: Callable[[], Awaitable[str]]) -> Row:
    """The row of one check, which fails by raising."""
    try:
        return Row(name, "passes", await run(), True)
    except (CheckFailedError, ClusterError) as error:
        return Row(name, "passes", str(error), False)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        return Row(name, "passes", f"an answer of another form: {error!r}", False)


async def checked(pod: ServingPod, adapters: Sequence[str]) -> list[Row]:
    """Every check but those that end the pod. The pod has to be without other requests."""
    rows = [
        await check("ready", lambda: _ready(pod)),
        await check("streaming", lambda: _streaming(pod)),
        await check("structured output", lambda: _structured(pod)),
        await check("stop strings", lambda: _stop_string(pod)),
        await check("stop tokens", lambda: _stop_token(pod)),
        await check("log probabilities", lambda: _logprobs(pod)),
        await check("cancelling", lambda: _cancelling(pod)),
    ]
    return [*rows, *[await check(f"adapter {name}", partial(_adapter, pod, name)) for name in adapters]]


async def drained(pod: ServingPod, end: Callable[[], Awaitable[object]]) -> Row:
    """Whether a stream outlives its pod's end, which `end` asks for once the stream has begun."""

    async def run() -> str:
        whole = await streamed(pod, DRAIN_TOKENS, end)
        if whole.finish_reason != "length":
            raise CheckFailedError(f"the stream was ended by {whole.finish_reason}")
        return f"{whole.tokens} tokens came, {whole.seconds:.1f} s of them from a pod on its way out"

    return await check("drain", run)


async def streamed(
    pod: ServingPod, max_tokens: int, begun: Callable[[], Awaitable[object]] | None = None
) -> Streamed:
    """One stream of exactly so many tokens, or as many as the context holds. Raises CheckFailedError."""
    texts: list[str] = []
    usage: Manifest | None = None
    finish_reason: str | None = None
    first = last = 0.0
    async with aclosing(_events(pod, max_tokens)) as events:
        async for event in events:
            usage = event.get("usage") or usage
            for choice in event["choices"]:
                finish_reason = choice["finish_reason"] or finish_reason
                if choice["text"]:
                    last = time.monotonic()
                    first = first or last
                    texts.append(choice["text"])
                    if begun is not None:
                        await begun()
                        begun = None
    if usage is None:
        raise CheckFailedError("the stream brought no usage")
    return Streamed("".join(texts), len(texts), finish_reason, int(usage["completion_tokens"]), last - first)


async def kv_tokens(pod: ServingPod) -> int:
    """Tokens in the cache, as the engine reports them."""
    return int((await pod.admin.get("/health"))["engine"]["kv_cache_total_tokens"])


def sse_data(line: str) -> str | None:
    """Payload of a server-sent event's line; None for comments and the empty lines between events."""
    return line.removeprefix("data:").strip() if line.startswith("data:") else None


async def _events(pod: ServingPod, max_tokens: int) -> AsyncGenerator[Manifest, None]:
    body = _body(
        pod, max_tokens=max_tokens, ignore_eos=True, stream=True, stream_options={"include_usage": True}
    )
    async with aclosing(pod.api.stream(COMPLETIONS, body)) as lines:
        async for line in lines:
            data = sse_data(line)
            if data == "[DONE]":
                return
            if data is not None:
                event = json.loads(data)
                if "error" in event:
                    raise CheckFailedError(f"error within the stream: {event['error']['message']}")
                yield event
    raise CheckFailedError("the stream ended without [DONE]")


def _body(pod: ServingPod, **fields: Any) -> Manifest:
    return {"model": pod.model, "prompt": PROMPT, "temperature": 0, **fields}


async def _choice(pod: ServingPod, **fields: Any) -> Manifest:
    answer = await pod.api.post(COMPLETIONS, _body(pod, **fields))
    choice: Manifest = answer["choices"][0]
    return choice


async def _ready(pod: ServingPod) -> str:
    state = await pod.admin.get("/health")
    others = state["queue"]["running"]
    if state["status"] not in SERVING_STATES:
        raise CheckFailedError(f"it is {state['status']}: {', '.join(state['reasons']) or 'no reason given'}")
    if others:
        raise CheckFailedError(f"{others} other requests are under way: verify an endpoint without traffic")
    return ", ".join([state["status"], *state["reasons"]])


async def _streaming(pod: ServingPod) -> str:
    whole = await streamed(pod, STREAM_TOKENS)
    if whole.finish_reason != "length" or whole.tokens != STREAM_TOKENS:
        raise CheckFailedError(
            f"{STREAM_TOKENS} tokens asked, {whole.tokens} reported, ended by {whole.finish_reason}"
        )
    if whole.chunks < 2:
        raise CheckFailedError("everything came in one piece")
    return f"{whole.tokens} tokens in {whole.chunks} events"


async def _structured(pod: ServingPod) -> str:
    text = str((await _choice(pod, max_tokens=16, guided_regex="[0-9]{3}"))["text"])
    if len(text) != 3 or not text.isdigit():
        raise CheckFailedError(f"[0-9]{{3}} gave {text!r}")
    return text


async def _stop_string(pod: ServingPod) -> str:
    choice = await _choice(pod, max_tokens=32, guided_regex="one two three four", stop=["three"])
    if choice["text"] != "one two " or choice["finish_reason"] != "stop":
        raise CheckFailedError(f"it gave {choice['text']!r}, ended by {choice['finish_reason']}")
    return "not shown, and nothing after it"


async def _stop_token(pod: ServingPod) -> str:
    choice = await _choice(pod, max_tokens=32, guided_regex="(ok)")
    if choice["text"] != "ok" or choice["finish_reason"] != "stop":
        raise CheckFailedError(f"it gave {choice['text']!r}, ended by {choice['finish_reason']}")
    return "ends the answer, and is not shown"


async def _logprobs(pod: ServingPod) -> str:
    told = (await _choice(pod, max_tokens=8, ignore_eos=True, logprobs=3))["logprobs"]
    values = told["token_logprobs"]
    if len(values) != 8 or any(value > 0 for value in values):
        raise CheckFailedError(f"8 tokens have the log probabilities {values}")
    if any(len(top) < 3 for top in told["top_logprobs"]):
        raise CheckFailedError("fewer than 3 alternatives")
    return f"8 tokens, 3 alternatives each, best {max(values):.3f}"


async def _cancelling(pod: ServingPod) -> str:
    async with aclosing(_events(pod, LONG_TOKENS)) as events:
        await anext(events)
    left = time.monotonic()
    while (now := time.monotonic()) < left + FREE_SECONDS:
        state = await pod.admin.get("/health")
        if not state["queue"]["running"] and not state["engine"]["running"]:
            return f"slot and sequence were free after {now - left:.1f} s"
        await asyncio.sleep(POLL_SECONDS)
    raise CheckFailedError(f"the sequence goes on {FREE_SECONDS:.0f} s after its client has left")


async def _adapter(pod: ServingPod, name: str) -> str:
    model = f"{pod.model}:{name}"
    listed = [card["id"] for card in (await pod.api.get("/v1/models"))["data"]]
    if model not in listed:
        raise CheckFailedError(f"{model} is not listed: {', '.join(listed)}")
    answer = await pod.api.post(COMPLETIONS, {**_body(pod, max_tokens=16), "model": model})
    return str(answer["choices"][0]["text"])
