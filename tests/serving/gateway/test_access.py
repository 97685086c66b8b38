"""Keys, limits, usage."""

import asyncio
import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager

import httpx
import openai
import pytest
from scripted import Script, ScriptedUpstream

from gemma_serving.contract import AccessConfig, Failed, FailureCode, KeyLimits
from gemma_serving.gateway.access.keys import KeyRing, hash_key, read_keys
from gemma_serving.gateway.app import make_app
from serving import config, running

CHAT = {"model": "assistant", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10}
KEY, OTHER = "key-of-team-a-000000", "key-of-team-b-000000"


def secret(folder, **files):
    """A Secret as the kubelet mounts it: entries are links into a dated folder that is swapped as a whole."""
    version = folder / f"..{time.monotonic_ns()}"
    version.mkdir(parents=True)
    for name, text in files.items():
        (version / name).write_text(text)
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(f"..data/{name}")
    fresh = folder / "..data_tmp"
    fresh.symlink_to(version.name)
    fresh.rename(folder / "..data")
    for link in folder.iterdir():
        if not link.name.startswith("..") and link.name not in files:
            link.unlink()


def guarded(folder, **limits):
    return config(access=AccessConfig(keys_path=str(folder), limits=KeyLimits(**limits)))


def post(door, key=KEY, **fields):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.post(f"{door.url}/v1/chat/completions", json={**CHAT, **fields}, headers=headers, timeout=30)


def test_every_route_of_the_public_port_asks_for_a_key(tmp_path):
    secret(tmp_path, team_a=hash_key(KEY))
    with running(ScriptedUpstream(), guarded(tmp_path)) as door:
        routes = list(make_app(door.gateway)._app.routes)
        assert len(routes) >= 5
        for route in routes:
            path = route.path.replace("{model:path}", "assistant")
            for method in sorted(route.methods - {"HEAD"}):
                answer = httpx.request(method, door.url + path)
                assert (path, answer.status_code) == (path, 401)
                assert answer.json()["error"]["code"] == "invalid_api_key"
        assert httpx.get(f"{door.admin_url}/livez").status_code == 200
        assert post(door).status_code == 200
        assert post(door, "not-the-key-000000000").status_code == 401
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=f"{door.url}/v1", api_key="wrong").models.list()


def test_rotation_needs_no_restart_and_cuts_no_stream(tmp_path):
    """FO-27."""
    secret(tmp_path, team_a=hash_key(KEY) + "\n", team_b=hash_key(OTHER))
    ring = KeyRing(tmp_path, KeyLimits())
    new = "new-key-of-team-a-00"
    secret(tmp_path, team_a=f"{hash_key(KEY)}\n{hash_key(new)}\n", team_b=hash_key(OTHER))
    assert ring.reload()
    assert {ring.find(key).name for key in (KEY, new)} == {"team_a"}
    secret(tmp_path, team_a=hash_key(new))
    assert ring.reload()
    assert ring.find(KEY) is None
    assert ring.find(OTHER) is None
    assert ring.find(new).name == "team_a"
    assert not ring.reload()


@pytest.mark.parametrize("lost", ["emptied", "deleted"])
def test_an_empty_or_missing_secret_lets_nobody_in(tmp_path, lost):
    """FO-27."""
    folder = tmp_path / "keys"
    secret(folder, team_a=hash_key(KEY))
    ring = KeyRing(folder, KeyLimits())
    assert ring.find(KEY)
    if lost == "emptied":
        secret(folder)
    else:
        shutil.rmtree(folder)
    assert ring.reload()
    assert ring.find(KEY) is None


def test_lines_that_cannot_be_read_are_named_without_the_key(tmp_path, caplog):
    hashed = hash_key(KEY)
    text = f"short\nsha256:zz\n{hashed} requestsPerMinute=none\n# note\n\n{hashed} tokensPerMinute=5"
    secret(
        tmp_path,
        bad=text,
    )
    keys = read_keys(tmp_path, KeyLimits(requests_per_minute=7))
    assert [key.consumer.limits for key in keys] == [KeyLimits(requests_per_minute=7, tokens_per_minute=5)]
    assert caplog.text.count("key file bad, line") == 3
    assert "short" not in caplog.text


def test_neither_keys_nor_prompts_reach_the_log(tmp_path, caplog):
    """FO-27."""
    caplog.set_level(0)
    secret(tmp_path, team_a=KEY)
    with running(ScriptedUpstream(), guarded(tmp_path)) as door:
        post(door, messages=[{"role": "user", "content": "a very private question"}])
        post(door, "wrong-key-0000000000")
        page = httpx.get(f"{door.admin_url}/metrics").text
    for text in (KEY, "wrong-key", "private question"):
        assert text not in caplog.text
        assert text not in page


def test_requests_are_limited_per_key_with_the_usual_headers(tmp_path):
    secret(tmp_path, team_a=hash_key(KEY), team_b=f"{hash_key(OTHER)} requestsPerMinute=100")
    with running(ScriptedUpstream(), guarded(tmp_path, requests_per_minute=2)) as door:
        first = post(door)
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        assert post(door, stream=True).headers["x-ratelimit-remaining-requests"] == "0"
        refused = post(door)
        assert post(door, OTHER).status_code == 200
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"


def test_requests_that_are_refused_as_invalid_cost_nothing(tmp_path):
    """FO-28."""
    secret(tmp_path, team_a=hash_key(KEY))
    with running(ScriptedUpstream(), guarded(tmp_path, requests_per_minute=1)) as door:
        assert post(door, n=0).status_code == 400
        assert post(door, model="other").status_code == 404
        assert post(door).status_code == 200


def within_one_window():
    """Start early enough in the minute that the test ends in it."""
    left = 60 - time.time() % 60
    if left < 8:
        time.sleep(left)


def test_parallel_requests_cannot_overdraw_a_token_budget(tmp_path):
    """FO-28."""
    within_one_window()
    secret(tmp_path, team_a=hash_key(KEY))
    script = Script(["x"] * 190, prompt_tokens=10, delay_seconds=0.001)
    settings = guarded(tmp_path, tokens_per_minute=1000)
    with running(ScriptedUpstream(lambda _: script), settings) as door:

        async def storm():
            async with httpx.AsyncClient(timeout=30, headers={"authorization": f"Bearer {KEY}"}) as client:
                url = f"{door.url}/v1/chat/completions"
                return await asyncio.gather(
                    *(client.post(url, json={**CHAT, "max_tokens": 190}) for _ in range(20))
                )

        answers = asyncio.run(storm())
    used = sum(a.json()["usage"]["total_tokens"] for a in answers if a.status_code == 200)
    assert {a.status_code for a in answers} == {200, 429}
    assert 600 <= used <= 1000


@pytest.mark.parametrize("how", ["whole", "stream", "aborted"])
def test_what_was_reserved_and_not_used_comes_back(tmp_path, how):
    """FO-28."""
    within_one_window()
    secret(tmp_path, team_a=hash_key(KEY))
    delay = 0.01 if how == "aborted" else 0
    script = Script(["x"] * 40, prompt_tokens=10, delay_seconds=delay)
    with running(ScriptedUpstream(lambda _: script), guarded(tmp_path, tokens_per_minute=1000)) as door:
        headers = {"authorization": f"Bearer {KEY}"}
        if how == "aborted":
            body = {**CHAT, "max_tokens": 500, "stream": True}
            with httpx.stream(
                "POST", f"{door.url}/v1/chat/completions", json=body, headers=headers
            ) as answer:
                lines = answer.iter_lines()
                next(lines)
            deadline = time.monotonic() + 5
            while door.gateway.engine.admission.running:
                assert time.monotonic() < deadline
        else:
            post(door, max_tokens=500, stream=how == "stream")
        usage = httpx.get(f"{door.url}/v1/usage", headers=headers)
    left = int(usage.headers["x-ratelimit-remaining-tokens"])
    assert left == 950 if how != "aborted" else 950 <= left <= 1000
    assert usage.json()["requests"] == 1


@pytest.mark.parametrize(
    ("broken", "left"),
    [({"fail_after": 20}, 970), ({"failed": Failed(FailureCode.ENGINE_ERROR, "no tokenizer")}, 1000)],
    ids=["broke off without a count", "never accepted"],
)
def test_what_an_engine_gave_before_it_failed_is_counted_without_its_help(tmp_path, broken, left):
    """FO-28: the engine's own final count is missing, and the text that came is not free."""
    within_one_window()
    secret(tmp_path, team_a=hash_key(KEY))
    script = Script(["x"] * 40, prompt_tokens=10, **broken)
    with running(ScriptedUpstream(lambda _: script), guarded(tmp_path, tokens_per_minute=1000)) as door:
        assert post(door, max_tokens=500).status_code >= 500
        usage = httpx.get(f"{door.url}/v1/usage", headers={"authorization": f"Bearer {KEY}"})
    assert int(usage.headers["x-ratelimit-remaining-tokens"]) == left


def test_usage_tells_a_key_of_its_own_only(tmp_path):
    secret(tmp_path, team_a=hash_key(KEY), team_b=hash_key(OTHER))
    with running(ScriptedUpstream(), guarded(tmp_path, tokens_per_minute=5000)) as door:
        post(door)
        post(door)
        usage = httpx.get(f"{door.url}/v1/usage", headers={"authorization": f"Bearer {KEY}"}).json()
        others = httpx.get(f"{door.url}/v1/usage", headers={"api-key": OTHER}).json()
    assert (usage["key"], usage["requests"], usage["prompt_tokens"], usage["completion_tokens"]) == (
        "team_a",
        2,
        14,
        4,
    )
    assert usage["limits"] == {"tokens_per_minute": 5000}
    assert others["requests"] == 0


def test_a_keys_own_cap_bounds_its_answers(tmp_path):
    secret(tmp_path, team_a=f"{hash_key(KEY)} tokensPerRequest=3")
    upstream = ScriptedUpstream(lambda _: Script(["x"] * 10))
    with running(upstream, guarded(tmp_path)) as door:
        assert post(door, max_tokens=8).json()["choices"][0]["finish_reason"] == "length"
        assert post(door, max_tokens=None).json()["usage"]["completion_tokens"] == 3
        assert post(door, max_tokens=2).json()["usage"]["completion_tokens"] == 2


@contextmanager
def store():
    """A real Redis on a free port."""
    binary = shutil.which("valkey-server") or shutil.which("redis-server")
    if binary is None:
        pytest.skip("neither valkey-server nor redis-server is installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen([binary, *arguments], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < deadline
        yield process, f"redis://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def shared(folder, url, failure):
    (folder / "url").write_text(f"{url}\n")
    limits = KeyLimits(requests_per_minute=2)
    access = AccessConfig(
        keys_path=str(folder / "keys"),
        limits=limits,
        limit_store_url_path=str(folder / "url"),
        limit_store_failure=failure,
    )
    secret(folder / "keys", team_a=hash_key(KEY))
    return config(access=access)


def test_replicas_count_together_in_a_shared_store(tmp_path):
    within_one_window()
    with store() as (_, url):
        settings = shared(tmp_path, url, "Open")
        with running(ScriptedUpstream(), settings) as one, running(ScriptedUpstream(), settings) as other:
            assert [post(one).status_code, post(other).status_code] == [200, 200]
            assert [post(one).status_code, post(other).status_code] == [429, 429]


@pytest.mark.parametrize(("failure", "statuses"), [("Open", [200, 200, 429]), ("Closed", [503, 503, 503])])
def test_a_store_that_is_down_is_bridged_or_refused_and_seen(tmp_path, failure, statuses):
    within_one_window()
    with store() as (process, url), running(ScriptedUpstream(), shared(tmp_path, url, failure)) as door:
        os.kill(process.pid, 9)
        process.wait()
        answers = [post(door) for _ in range(3)]
        page = httpx.get(f"{door.admin_url}/metrics").text
    assert [answer.status_code for answer in answers] == statuses
    assert 'gemma_limit_store_up{model="assistant"} 0.0' in page
