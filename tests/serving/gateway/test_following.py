"""A changed runtime.json reaches a running gateway, as far as no new pod is needed."""

from pathlib import Path

import httpx
import pytest
from scripted import ScriptedUpstream

from gemma_serving.contract import AccessConfig, KeyLimits, RuntimeConfig, SafetyConfig
from gemma_serving.gateway.following import Follower
from serving import Running, config, running

KEY = "a-key-of-sixteen-characters"


def follow(gateway: Running, path: Path, changed: RuntimeConfig) -> bool:
    path.write_text(changed.to_json())
    return Follower(gateway.gateway, path).look()


def ask(gateway: Running, content: str = "hello", key: str | None = None) -> int:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    body = {"model": "assistant", "messages": [{"role": "user", "content": content}]}
    return httpx.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers).status_code


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runtime.json"


def test_a_shorter_queue_is_in_force_at_once(path: Path) -> None:
    with running(ScriptedUpstream()) as gateway:
        assert follow(gateway, path, config(max_queued_requests=3))
        assert gateway.gateway.engine.admission.queue_limit == 3


def test_a_limit_on_input_is_in_force_and_goes_again(path: Path) -> None:
    with running(ScriptedUpstream()) as gateway:
        assert ask(gateway) == 200
        assert follow(gateway, path, config(safety=SafetyConfig(max_input_characters=3)))
        assert ask(gateway) == 400
        assert follow(gateway, path, config())
        assert ask(gateway) == 200


def test_limits_of_keys_change_and_their_usage_goes_on(path: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "blue").write_text(KEY)
    access = AccessConfig(keys_path=str(keys))
    with running(ScriptedUpstream(), config(access=access)) as gateway:
        assert [ask(gateway, key=KEY), ask(gateway)] == [200, 401]
        usage = gateway.gateway.access.usage.to_json("blue")
        limited = AccessConfig(keys_path=str(keys), limits=KeyLimits(requests_per_minute=1))
        assert follow(gateway, path, config(access=limited))
        assert gateway.gateway.access.usage.to_json("blue") == usage
        assert [ask(gateway, key=KEY), ask(gateway, key=KEY)] == [200, 429]


def test_keys_that_only_a_new_pod_mounts_lock_nobody_out(path: Path, tmp_path: Path) -> None:
    with running(ScriptedUpstream()) as gateway:
        elsewhere = AccessConfig(keys_path=str(tmp_path / "not-mounted"))
        assert not follow(gateway, path, config(access=elsewhere))
        assert ask(gateway) == 200


def test_terms_that_only_a_new_pod_mounts_leave_those_in_force(path: Path, tmp_path: Path) -> None:
    terms = tmp_path / "terms"
    terms.mkdir()
    (terms / "list").write_text("forbidden")
    before = config(safety=SafetyConfig(blocked_terms_path=str(terms)))
    with running(ScriptedUpstream(), before) as gateway:
        other = SafetyConfig(blocked_terms_path=str(tmp_path / "not-mounted"))
        assert not follow(gateway, path, config(safety=other))
        assert ask(gateway, "a forbidden word") == 400


@pytest.mark.parametrize("text", ["", "{", '{"model": "assistant", "unheard": 1}'])
def test_what_cannot_be_read_changes_nothing(path: Path, text: str) -> None:
    with running(ScriptedUpstream()) as gateway:
        path.write_text(text)
        assert not Follower(gateway.gateway, path).look()
        assert gateway.gateway.engine.admission.queue_limit == config().max_queued_requests


def test_an_unchanged_file_is_taken_up_once(path: Path) -> None:
    with running(ScriptedUpstream()) as gateway:
        path.write_text(config(max_queued_requests=3).to_json())
        follower = Follower(gateway.gateway, path)
        assert [follower.look(), follower.look()] == [True, False]


def test_what_takes_a_new_pod_is_left_to_it(path: Path) -> None:
    with running(ScriptedUpstream()) as gateway:
        assert follow(gateway, path, config(max_concurrent_requests=1, max_queued_requests=3))
        assert gateway.gateway.engine.admission.slots == config().max_concurrent_requests
