"""LoRA adapters come to a running replica and leave it, and callers are told how it is."""

import asyncio
import dataclasses
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from scripted import ScriptedUpstream

from gemma_serving.contract import AdapterState, EngineStats
from gemma_serving.gateway.adapters import AdapterKeeper, AdapterReport, Adapters, Loading
from gemma_serving.gateway.following import Follower
from gemma_serving.gateway.health import EngineHealth
from gemma_serving.gateway.upstream import UpstreamError
from serving import Running, config, running

POLITE, MATHS = {"polite": "/weights/polite"}, {"maths": "/weights/maths"}
MATHS_TOLD = {"name": "maths", "path": "/weights/maths"}
PATIENCE_SECONDS = 10


def holding(**adapters: str) -> dict[str, AdapterState]:
    return {name: AdapterState(name, path) for name, path in adapters.items()}


def edit(gateway: Running, tmp_path: Path, adapters: dict[str, str]) -> None:
    path = tmp_path / "runtime.json"
    path.write_text(dataclasses.replace(gateway.gateway.config, adapters=adapters).to_json())
    assert Follower(gateway.gateway, path).look()


def models(gateway: Running) -> list[str]:
    return [card["id"] for card in httpx.get(f"{gateway.url}/v1/models").json()["data"]]


def ask(gateway: Running, model: str) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    return httpx.post(f"{gateway.url}/v1/chat/completions", json=body)


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_added_adapter_is_loaded_listed_and_used_and_a_removed_one_is_gone(tmp_path: Path) -> None:
    upstream = ScriptedUpstream(adapters=holding(**POLITE))
    with running(upstream, config(adapters=POLITE, adapter_slots=2)) as gateway:
        assert models(gateway) == ["assistant", "assistant:polite"]
        edit(gateway, tmp_path, {**POLITE, **MATHS})
        wait_for(lambda: models(gateway) == ["assistant", "assistant:polite", "assistant:maths"])
        assert ask(gateway, "assistant:maths").status_code == 200
        assert upstream.requests[-1].adapter == "maths"
        edit(gateway, tmp_path, MATHS)
        assert models(gateway) == ["assistant", "assistant:maths"]
        gone = ask(gateway, "assistant:polite")
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "model_not_found")
        wait_for(lambda: upstream.adapted == [{**POLITE, **MATHS}, MATHS])


def test_an_adapter_that_cannot_be_loaded_is_refused_with_the_engines_reason(tmp_path: Path) -> None:
    upstream = ScriptedUpstream(refused_adapters={"maths": "adapter 'maths' has rank 64"})
    with running(upstream, config(adapter_slots=1)) as gateway:
        edit(gateway, tmp_path, MATHS)
        wait_for(lambda: "rank 64" in ask(gateway, "assistant:maths").text)
        refused = ask(gateway, "assistant:maths")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "adapter_not_loaded")
        assert models(gateway) == ["assistant"]
        told = httpx.get(f"{gateway.admin_url}/health").json()["adapters"]
        assert told == [
            {**MATHS_TOLD, "state": "Failed", "message": "adapter 'maths' has rank 64"},
        ]
        assert ask(gateway, "assistant").status_code == 200


def started(**fields: Any) -> EngineHealth:
    health = EngineHealth(started=True)
    health.saw_stats(EngineStats(0, 0, 0, 0, 0, 0.0, **fields))
    return health


def test_until_it_is_loaded_an_adapter_is_on_its_way() -> None:
    adapters = Adapters({}, started())
    adapters.take_up(MATHS)
    assert adapters.reports() == [AdapterReport("maths", Loading.LOADING)]
    assert adapters.loaded() == []


def test_another_path_under_the_same_name_is_another_adapter() -> None:
    adapters = Adapters({}, started(adapters=[AdapterState("maths", "/weights/old")]))
    adapters.take_up(MATHS)
    assert adapters.loaded() == []


def test_an_engine_that_restarted_is_given_back_what_it_lost() -> None:
    upstream = ScriptedUpstream(adapters={})
    health = started(adapters=[])
    adapters = Adapters({}, health)
    adapters.take_up(MATHS)
    keeper = AdapterKeeper(upstream, adapters, health)
    asyncio.run(keeper.check())
    asyncio.run(keeper.check())
    assert adapters.loaded() == ["maths"]
    assert upstream.adapted == [MATHS]


def test_an_engine_that_has_not_started_is_asked_for_nothing() -> None:
    upstream, health = ScriptedUpstream(), EngineHealth()
    adapters = Adapters({}, health)
    adapters.take_up(MATHS)
    asyncio.run(AdapterKeeper(upstream, adapters, health).check())
    assert upstream.adapted == []


@pytest.mark.parametrize("error", [UpstreamError("gone"), TimeoutError()])
def test_an_engine_that_does_not_answer_leaves_what_is_known(error: Exception) -> None:
    class Silent(ScriptedUpstream):
        async def adapt(self, adapters: Any) -> EngineStats:
            raise error

    health = started(adapters=list(holding(**POLITE).values()))
    adapters = Adapters(POLITE, health)
    adapters.take_up({**POLITE, **MATHS})
    asyncio.run(AdapterKeeper(Silent(), adapters, health).check())
    assert adapters.loaded() == ["polite"]
