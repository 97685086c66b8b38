"""The event grammar and the coalescing of deltas, without an engine."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from gemma_serving.contract import Delta, Finished, GenerateEvent, TokenLogprob
from gemma_serving.engines.generation import COALESCE_SECONDS, Generation, merged
from support.generating import request


def ended(generation: Generation) -> GenerateEvent:
    return GenerateEvent(finished=Finished("stop", generation.prompt_tokens, generation.completion_tokens))


async def test_tokens_made_together_arrive_together() -> None:
    generation = Generation(request(), ())
    generation.accept(3)
    for text in ("a", "b", "c"):
        generation.delta(text, 1)
    generation.finish(ended(generation))
    first, second, third = [event async for event in generation.events()]
    assert first.accepted is not None
    assert second.delta == Delta(text="abc", tokens=3)
    assert third.finished is not None


async def test_first_token_is_not_held_back() -> None:
    generation = Generation(request(), ())
    stream = generation.events()
    generation.accept(1)
    await anext(stream)
    generation.delta("a", 1)
    assert (await anext(stream)).delta == Delta(text="a", tokens=1)


async def test_later_tokens_wait_no_longer_than_the_contract_allows() -> None:
    loop = asyncio.get_running_loop()
    generation = Generation(request(), ())
    stream = generation.events()
    generation.delta("a", 1)
    await anext(stream)
    shown = loop.time()
    waiting = asyncio.ensure_future(anext(stream))
    generation.delta("b", 1)
    loop.call_later(COALESCE_SECONDS / 2, generation.delta, "c", 1)
    assert (await waiting).delta == Delta(text="bc", tokens=2)
    assert loop.time() - shown >= COALESCE_SECONDS


async def test_ending_does_not_wait_for_the_interval() -> None:
    generation = Generation(request(), ())
    stream = generation.events()
    generation.delta("a", 1)
    await anext(stream)
    generation.delta("b", 1)
    generation.finish(ended(generation))
    assert (await anext(stream)).delta == Delta(text="b", tokens=1)
    assert (await anext(stream)).finished is not None


def test_cancel_callbacks_run_once_also_when_late() -> None:
    generation = Generation(request(), ())
    calls: list[str] = []
    generation.on_cancel(lambda: calls.append("early"))
    generation.cancel()
    generation.cancel()
    generation.on_cancel(lambda: calls.append("late"))
    assert calls == ["early", "late"]


@given(st.lists(st.builds(Delta, st.text(max_size=3), st.integers(0, 4), st.none()), min_size=1, max_size=8))
def test_merging_keeps_text_and_tokens(deltas: list[Delta]) -> None:
    whole = merged(deltas)
    assert whole.text == "".join(delta.text for delta in deltas)
    assert whole.tokens == sum(delta.tokens for delta in deltas)
    assert whole.logprobs is None


def test_merging_keeps_log_probabilities_in_order() -> None:
    deltas = [Delta(token, 1, [TokenLogprob(token, -1.0)]) for token in "abc"]
    assert [entry.token for entry in merged(deltas).logprobs or ()] == ["a", "b", "c"]
