"""What every engine must do. One suite; the engines are in support/engine_cases.py."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any, cast

import pytest

from gemma_serving.contract import GenerateEvent, Structure
from gemma_serving.engines import Engine
from support.engine_cases import EngineCase
from support.generating import Answer, ask, collect, request

PATIENCE_SECONDS = 60
pytestmark = pytest.mark.asyncio(loop_scope="module")


def kinds(answer: Answer) -> list[str]:
    return [next(iter(json.loads(event.to_json()))) for event in answer.events]


async def test_events_come_in_the_contracts_order(engine: Engine) -> None:
    answer = await ask(engine)
    first, *middle, last = kinds(answer)
    assert first == "accepted"
    assert set(middle) == {"delta"}
    assert last == "finished"


async def test_token_counts_agree_between_events(engine: Engine) -> None:
    answer = await ask(engine, max_tokens=6)
    accepted = answer.events[0].accepted
    assert accepted is not None
    assert answer.finished.prompt_tokens == accepted.prompt_tokens
    assert answer.finished.completion_tokens == sum(delta.tokens for delta in answer.deltas) == 6
    assert answer.finished.reason == "length"


async def test_prompt_has_exactly_one_bos_however_it_arrives(engine: Engine) -> None:
    plain, marked, doubly = [
        await ask(engine, f"{prefix}France is a country") for prefix in ("", "<bos>", "<bos><bos>")
    ]
    assert plain.finished.prompt_tokens == marked.finished.prompt_tokens == doubly.finished.prompt_tokens
    assert plain.text == marked.text == doubly.text
    with_bos, without_bos = [await ask(engine, None, token_ids=ids) for ids in ([2, 600, 563], [600, 563])]
    assert with_bos.finished.prompt_tokens == without_bos.finished.prompt_tokens == 3
    assert with_bos.text == without_bos.text


async def test_greedy_answers_repeat(engine: Engine) -> None:
    assert (await ask(engine)).text == (await ask(engine)).text


async def test_seeded_answers_repeat_and_unseeded_ones_do_not(engine: Engine) -> None:
    warm: dict[str, Any] = {"temperature": 1.5, "max_tokens": 16}
    seeded = [(await ask(engine, seed=7, **warm)).text for _ in range(2)]
    assert seeded[0] == seeded[1]
    assert len({(await ask(engine, **warm)).text for _ in range(4)}) > 1


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}], ids=str)
async def test_narrowest_sampling_is_greedy(engine: Engine, narrow: dict[str, Any]) -> None:
    greedy = await ask(engine)
    assert (await ask(engine, temperature=2.0, seed=1, **narrow)).text == greedy.text


@pytest.mark.parametrize(
    "penalty", [{"repetition_penalty": 5.0}, {"frequency_penalty": 2.0}, {"presence_penalty": 2.0}], ids=str
)
async def test_penalties_change_a_repetitive_answer(engine: Engine, penalty: dict[str, Any]) -> None:
    plain = await ask(engine, max_tokens=40)
    assert (await ask(engine, max_tokens=40, **penalty)).text != plain.text


async def test_a_biased_token_comes_or_the_field_is_refused_by_name(engine: Engine) -> None:
    plain = await ask(engine, max_tokens=4, ignore_eos=True)
    biased = await ask(engine, max_tokens=4, ignore_eos=True, logit_bias={"600": 100.0})
    if kinds(biased) == ["failed"]:
        assert (biased.failed.code, biased.failed.param) == ("unsupported", "logit_bias")
    else:
        once = await ask(engine, max_tokens=1, ignore_eos=True, logit_bias={"600": 100.0})
        assert biased.text == once.text * 4 != plain.text


async def test_the_prompts_ids_are_told_where_they_are_wanted(engine: Engine) -> None:
    told = await ask(engine, None, token_ids=[600, 563], wants_token_ids=True)
    assert told.events[0].accepted is not None
    assert told.events[0].accepted.token_ids == [2, 600, 563]
    untold = await ask(engine)
    assert untold.events[0].accepted is not None
    assert untold.events[0].accepted.token_ids is None


async def test_an_adapter_that_cannot_be_loaded_is_told_with_the_reason_and_nothing_else_changes(
    engine: Engine,
) -> None:
    before = (await ask(engine)).text
    await engine.adapt({"nowhere": "/nonexistent"})
    (state,) = engine.stats().adapters or ()
    assert (state.name, state.path) == ("nowhere", "/nonexistent")
    assert state.failure
    assert (await ask(engine, adapter="nowhere")).failed.param == "adapter"
    assert (await ask(engine)).text == before
    await engine.adapt({})
    assert engine.stats().adapters == []


async def test_answer_is_capped_by_the_context(engine: Engine, case: EngineCase) -> None:
    answer = await ask(engine, "word " * (case.config.context_length - 8), max_tokens=100, ignore_eos=True)
    assert answer.finished.reason == "length"
    used = answer.finished.prompt_tokens + answer.finished.completion_tokens
    assert used == case.config.context_length


async def test_prompt_longer_than_the_context_fails_first_with_both_numbers(
    engine: Engine, case: EngineCase
) -> None:
    answer = await ask(engine, "word " * (2 * case.config.context_length))
    assert kinds(answer) == ["failed"]
    assert answer.failed.code == "context_length_exceeded"
    assert answer.failed.param == "prompt"
    numbers = [int(number) for number in re.findall(r"\d+", answer.failed.message)]
    assert case.config.context_length in numbers
    assert max(numbers) > 2 * case.config.context_length


async def test_stop_text_ends_the_answer_and_is_not_shown(engine: Engine) -> None:
    whole = (await ask(engine, max_tokens=12)).text
    words = whole.split(" ")
    stop = " ".join(words[3:5])  # spans two tokens at least
    answer = await ask(engine, max_tokens=12, stop=[stop])
    assert answer.finished.reason == "stop"
    assert answer.text == whole[: whole.index(stop)]


async def test_held_back_beginning_of_a_stop_text_is_not_lost(engine: Engine) -> None:
    whole = (await ask(engine, max_tokens=12)).text
    beginning = " ".join(whole.split(" ")[3:5])
    assert (await ask(engine, max_tokens=12, stop=[beginning + "\u2063never"])).text == whole


async def test_family_stop_token_ends_the_answer_and_is_not_shown(engine: Engine) -> None:
    answer = await ask(engine, structure=Structure(regex="(ok)"), max_tokens=20)
    assert answer.text == "ok"
    assert answer.finished.reason == "stop"


async def test_every_delta_is_whole_characters(engine: Engine) -> None:
    text = "a𓀀b🫨𓀁"  # characters of several tokens each
    answer = await ask(engine, "x", structure=Structure(regex=f"({text})"), max_tokens=40)
    assert answer.text == text
    assert all("\ufffd" not in delta.text for delta in answer.deltas)


async def test_json_schema_shapes_the_answer(engine: Engine) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "maximum": 99}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    answer = await ask(engine, "A person as JSON: ", structure=Structure(json_schema=schema), max_tokens=60)
    assert set(json.loads(answer.text)) == {"name", "age"}


async def test_regex_shapes_the_answer(engine: Engine) -> None:
    answer = await ask(engine, "A code: ", structure=Structure(regex="[0-9]{3}-[a-c]{2}"), max_tokens=20)
    assert re.fullmatch("[0-9]{3}-[a-c]{2}", answer.text)


@pytest.mark.parametrize(
    "broken",
    [Structure(regex="[0-9"), Structure(json_schema={"type": "nonsense"}), Structure(grammar="root ::= ((")],
    ids=["regex", "json_schema", "grammar"],
)
async def test_constraint_that_cannot_be_compiled_is_refused(engine: Engine, broken: Structure) -> None:
    answer = await ask(engine, structure=broken)
    assert kinds(answer) == ["failed"]
    assert (answer.failed.code, answer.failed.param) == ("invalid_request", "structure")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", "many"),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_p", 0),
        ("top_k", -1),
        ("min_p", 1.5),
        ("repetition_penalty", 0),
        ("presence_penalty", 3),
        ("frequency_penalty", True),
        ("stop", [""]),
        ("stop", "text"),
        ("seed", 1.5),
        ("logprobs", 21),
        ("ignore_eos", 1),
        ("token_ids", [-1]),
        ("adapter", "unknown"),
        ("structure", Structure()),
        ("structure", Structure(regex="a", grammar="b")),
    ],
    ids=str,
)
async def test_field_out_of_range_is_refused_by_name(engine: Engine, field: str, value: Any) -> None:
    answer = await ask(engine, **{field: value})
    assert kinds(answer) == ["failed"]
    assert (answer.failed.code, answer.failed.param) == ("invalid_request", field)


async def test_prompt_and_token_ids_exclude_each_other(engine: Engine) -> None:
    for fields in ({"prompt": None}, {"token_ids": [2, 600]}):
        answer = await ask(engine, **fields)
        assert (answer.failed.code, answer.failed.param) == ("invalid_request", "prompt")


async def test_media_for_a_text_only_deployment_is_unsupported(engine: Engine) -> None:
    answer = await ask(engine, media=[b"\x89PNG"])
    assert kinds(answer) == ["failed"]
    assert (answer.failed.code, answer.failed.param) == ("unsupported", "media")


async def test_logprobs_are_reported_as_many_as_asked(engine: Engine) -> None:
    answer = await ask(engine, logprobs=3)
    entries = [entry for delta in answer.deltas for entry in delta.logprobs or ()]
    assert len(entries) == answer.finished.completion_tokens
    assert all(entry.logprob <= 0 for entry in entries)
    assert all(len(entry.top) == 3 for entry in entries)
    assert all(entry.top[0].logprob == pytest.approx(entry.logprob, abs=1e-3) for entry in entries), (
        "greedy takes the best"
    )
    assert "".join(entry.token for entry in entries) == answer.text


async def test_logprobs_of_the_chosen_token_only(engine: Engine) -> None:
    answer = await ask(engine, logprobs=0)
    entries = [entry for delta in answer.deltas for entry in delta.logprobs or ()]
    assert len(entries) == answer.finished.completion_tokens
    assert all(entry.top == [] for entry in entries)


async def test_no_logprobs_unless_asked(engine: Engine) -> None:
    assert all(delta.logprobs is None for delta in (await ask(engine)).deltas)


async def first_delta(stream: AsyncGenerator[GenerateEvent, None]) -> GenerateEvent:
    async for event in stream:
        if event.delta is not None:
            return event
    raise AssertionError("the stream ended before its first delta")


def submit(engine: Engine, **fields: Any) -> AsyncGenerator[GenerateEvent, None]:
    return cast("AsyncGenerator[GenerateEvent, None]", engine.submit(request(ignore_eos=True, **fields)))


async def test_cancel_ends_the_stream_and_frees_the_sequence(engine: Engine) -> None:
    stream = submit(engine, id="to-cancel", max_tokens=400)
    await first_delta(stream)
    assert engine.stats().running == 1
    await engine.cancel("to-cancel")
    answer = await collect(stream)
    assert answer.finished.reason == "cancelled"
    assert answer.finished.completion_tokens < 20
    assert engine.stats().running == 0
    assert engine.stats().kv_used_tokens == 0


async def test_closing_the_stream_frees_the_sequence(engine: Engine) -> None:
    stream = submit(engine, max_tokens=400)
    await first_delta(stream)
    await stream.aclose()
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.kv_used_tokens) == (0, 0, 0)


async def test_cancelling_an_unknown_id_does_nothing(engine: Engine) -> None:
    await engine.cancel("nobody")
    assert (await ask(engine)).finished.reason == "length"


async def test_id_in_use_is_refused(engine: Engine) -> None:
    stream = submit(engine, id="twice", max_tokens=400)
    await first_delta(stream)
    answer = await ask(engine, id="twice")
    assert (answer.failed.code, answer.failed.param) == ("invalid_request", "id")
    await stream.aclose()


async def test_more_requests_than_slots_all_finish(engine: Engine, case: EngineCase) -> None:
    slots = case.config.max_concurrent_requests
    answers = asyncio.gather(*(ask(engine, f"{number} is", max_tokens=12) for number in range(3 * slots)))
    most_running = most_waiting = 0
    while not answers.done():
        stats = engine.stats()
        most_running, most_waiting = max(most_running, stats.running), max(most_waiting, stats.waiting)
        await asyncio.sleep(0.005)
    assert {answer.finished.completion_tokens for answer in await answers} == {12}
    assert most_running == slots
    assert most_waiting >= slots


async def test_waiting_request_is_cancelled_without_a_slot(engine: Engine, case: EngineCase) -> None:
    holding = [submit(engine, max_tokens=400) for _ in range(case.config.max_concurrent_requests)]
    for stream in holding:
        await first_delta(stream)
    waiting = asyncio.create_task(ask(engine, id="waiting"))
    while engine.stats().waiting == 0:
        await asyncio.sleep(0.005)
    await engine.cancel("waiting")
    answer = await waiting
    assert (answer.finished.reason, answer.finished.completion_tokens) == ("cancelled", 0)
    for stream in holding:
        await stream.aclose()


async def test_batched_answers_equal_single_ones(engine: Engine) -> None:
    prompts = ["Paris is the capital of", "The sea is"]
    single = [(await ask(engine, prompt)).finished.prompt_tokens for prompt in prompts]
    batched = await asyncio.gather(*(ask(engine, prompt) for prompt in prompts))
    assert [answer.finished.prompt_tokens for answer in batched] == single
    assert batched[0].text != batched[1].text


async def test_stats_count_tokens_and_steps(engine: Engine) -> None:
    before = engine.stats()
    await ask(engine, max_tokens=5)
    after = engine.stats()
    assert after.tokens_generated_total - before.tokens_generated_total == 5
    assert after.last_step_unix > before.last_step_unix


async def test_stats_show_the_kv_cache_of_running_sequences(engine: Engine, case: EngineCase) -> None:
    stream = submit(engine, max_tokens=400)
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for _ in stream:  # an engine may read its library's numbers now and then only
            if (stats := engine.stats()).kv_used_tokens:
                break
    assert 0 < stats.kv_used_tokens <= stats.kv_total_tokens
    assert stats.kv_total_tokens >= case.config.context_length
    await stream.aclose()


async def test_closed_engine_ends_running_streams_and_refuses_new_ones(case: EngineCase) -> None:
    engine = case.create()
    await engine.load(case.config)
    stream = submit(engine, max_tokens=400)
    await first_delta(stream)
    rest = asyncio.create_task(collect(stream))
    await engine.close()
    assert kinds(await rest)[-1] in ("finished", "failed")
    assert (await ask(engine)).failed.code == "engine_error"
    with pytest.raises(RuntimeError):
        engine.stats()


async def test_missing_weights_say_what_is_needed_and_where(case: EngineCase, tmp_path: Any) -> None:
    missing = tmp_path / "absent"
    engine = case.create()
    with pytest.raises((FileNotFoundError, ValueError, RuntimeError), match=str(missing)):
        await engine.load(replace(case.config, weights_path=str(missing)))
