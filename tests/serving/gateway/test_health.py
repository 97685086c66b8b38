"""Starting, alive, hung, dead: and never taking load for death."""

import time

import pytest
from scripted import Script, ScriptedUpstream

from gemma_serving.contract import EngineStats
from gemma_serving.gateway.health import (
    CANARY_SECONDS,
    DEAD_SECONDS,
    WINDOW_SECONDS,
    EngineHealth,
    Monitor,
    Verdict,
)
from gemma_serving.gateway.upstream import ModelState


def stats(**fields):
    values = {
        "running": 0,
        "waiting": 0,
        "kv_used_tokens": 0,
        "kv_total_tokens": 1,
        "tokens_generated_total": 0,
    }
    return EngineStats(**{**values, "last_step_unix": 0.0, **fields})


def started(**fields):
    return EngineHealth(started=True, state=ModelState.READY, last_proof=1000.0, **fields)


def test_before_the_first_generation_the_engine_is_starting_however_long_it_takes():
    health = EngineHealth(last_proof=0.0)
    assert health.verdict(1e6) is Verdict.STARTING
    assert not health.ready(1e6)


def test_an_answer_within_the_window_is_life():
    assert started().verdict(1000 + WINDOW_SECONDS - 1) is Verdict.ALIVE


def test_no_answer_and_no_step_within_the_window_is_a_hung_engine():
    health = started()
    assert health.verdict(1000 + WINDOW_SECONDS + 1) is Verdict.HUNG
    assert not health.ready(1000 + WINDOW_SECONDS + 1)


def test_steps_prove_a_busy_engine_alive_though_no_answer_comes():
    """FO-05."""
    health = started()
    health.saw_stats(stats(running=4, waiting=200, last_step_unix=5.0))
    assert health.verdict(time.monotonic() + WINDOW_SECONDS - 1) is Verdict.ALIVE


def test_statistics_without_a_new_step_prove_nothing():
    health = started(last_step_unix=5.0)
    health.saw_stats(stats(running=4, last_step_unix=5.0))
    assert health.last_proof == 1000.0


def test_refused_statistics_mean_a_dead_engine_after_a_moment():
    health = started()
    health.saw_no_stats("Stub process is not healthy", 1000.0)
    health.saw_no_stats("Stub process is not healthy", 1005.0)
    assert health.verdict(1005.0) is Verdict.ALIVE
    assert health.verdict(1000 + DEAD_SECONDS + 1) is Verdict.DEAD


def test_a_restarted_triton_starts_anew_instead_of_being_killed_for_it():
    health = started()
    health.saw_state(ModelState.NOT_READY)
    assert health.verdict(1000 + 10 * WINDOW_SECONDS) is Verdict.STARTING


def test_a_silent_triton_is_not_taken_for_a_starting_one():
    health = started()
    health.saw_state(ModelState.SILENT)
    assert health.verdict(1000 + WINDOW_SECONDS + 1) is Verdict.HUNG


async def rounds(monitor, health, count=2):
    for _ in range(count):
        await monitor.check()
        if monitor._canary is not None:
            await monitor._canary


async def test_started_only_after_the_model_is_loaded_and_a_generation_came_back():
    upstream, health = ScriptedUpstream(state=ModelState.NOT_READY), EngineHealth()
    monitor = Monitor(upstream, health, lambda: True)
    await rounds(monitor, health)
    assert not health.started
    upstream.state = ModelState.READY
    await rounds(monitor, health)
    assert health.started
    assert health.last_canary_seconds is not None


async def test_a_generation_that_fails_keeps_it_from_starting():
    upstream, health = ScriptedUpstream(lambda _: Script(fail_after=0)), EngineHealth()
    await rounds(Monitor(upstream, health, lambda: True), health)
    assert not health.started
    assert "scripted failure" in health.detail


@pytest.mark.parametrize("idle", [True, False])
async def test_a_canary_goes_out_after_idle_time_and_never_while_sequences_run(idle):
    """FO-05."""
    upstream, health = ScriptedUpstream(), started()
    monitor = Monitor(upstream, health, lambda: idle)
    health.last_proof = time.monotonic() - CANARY_SECONDS - 1
    await rounds(monitor, health, 1)
    assert (upstream.tokens == 1) is idle
