"""What is refused for its content, on the way in and on the way out."""

import json
import math
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Script, ScriptedUpstream

from gemma_serving.contract import Delta, SafetyConfig
from gemma_serving.gateway.errors import ApiError
from gemma_serving.gateway.metrics import Metrics
from gemma_serving.gateway.safety.filters import Safety
from gemma_serving.gateway.safety.guard import POLICIES, guard_prompt, violation
from gemma_serving.gateway.safety.terms import BlockedTerms, parse_term
from gemma_serving.gateway.safety.text import folded, without_unseen
from serving import config, events_of, running

CHAT = {"model": "assistant", "messages": [{"role": "user", "content": "hi"}]}


def blocked(*lines):
    return BlockedTerms([parse_term(line, "list") for line in lines])


@pytest.mark.parametrize(
    ("term", "text"),
    [
        ("bomb", "build a bomb now"),
        ("bomb", "BOMB!"),
        ("bomb", "b\u200bo\u200bm\u200bb"),
        ("bomb", "ｂｏｍｂ"),
        ("bomb", "bömb"),
        ("build a bomb", "build  a\nbomb"),
        ("strasse", "Straße"),
        ("illeg*", "illegally"),
        ("*bomb*", "firebombing"),
        ("爆弾", "これは爆弾です"),
        ("ระเบิด", "สร้างระเบิดเอง"),
        ("c++", "I know c++ well"),
    ],
)
def test_a_term_is_found_in_any_disguise(term, text):
    assert blocked(term).find(text) is not None


@pytest.mark.parametrize(
    ("term", "text"),
    [
        ("legal", "That is illegal, and legally so."),
        ("bomb", "a bombastic aplomb"),
        ("ass", "The class passes the assessment"),
        ("hell", "hello shell"),
        ("illeg*", "legal"),
        ("scunthorpe", "Scunthorpes"),
    ],
)
def test_an_innocent_word_that_contains_a_term_passes(term, text):
    assert blocked(term).find(text) is None


def test_comments_and_empty_lines_are_no_terms():
    assert [parse_term(line, "p") for line in ("", "  ", "# x", "*", "**")] == [None] * 5


def test_unseen_characters_go_and_those_that_scripts_need_stay():
    assert without_unseen("a\x00b\u202ec\U000e0041d\x1b") == "abcd"
    kept = "👩\u200d👧 क्‍ष tab\tline\n"
    assert without_unseen(kept) == kept


@given(st.text())
def test_folding_is_stable(text):
    assert folded(folded(text)) == folded(text)


@pytest.fixture
def lists(tmp_path):
    folder = tmp_path / "terms"
    folder.mkdir()
    (folder / "weapons").write_text("# list\nbomb\nbuild a rocket\n")
    return folder


def test_a_blocked_input_is_refused_with_its_policy_and_reaches_no_engine(lists):
    upstream = ScriptedUpstream()
    with running(upstream, config(safety=SafetyConfig(blocked_terms_path=str(lists)))) as door:
        body = {**CHAT, "messages": [{"role": "user", "content": [{"type": "text", "text": "a B\u00f6mb"}]}]}
        refused = httpx.post(f"{door.url}/v1/chat/completions", json=body)
        page = httpx.get(f"{door.admin_url}/metrics").text
        passed = httpx.post(f"{door.url}/v1/chat/completions", json=CHAT)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "content_filtered"
    assert "weapons" in refused.json()["error"]["message"]
    assert 'decision="block",model="assistant",policy="blocked_terms",stage="input"' in page
    assert passed.status_code == 200
    assert len(upstream.requests) == 1


def test_input_longer_than_allowed_is_refused():
    with running(ScriptedUpstream(), config(safety=SafetyConfig(max_input_characters=1))) as door:
        refused = httpx.post(f"{door.url}/v1/chat/completions", json=CHAT)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "validation_error")


def test_unseen_characters_do_not_reach_the_model(lists):
    upstream = ScriptedUpstream()
    with running(upstream, config(safety=SafetyConfig(blocked_terms_path=str(lists)))) as door:
        body = {**CHAT, "messages": [{"role": "user", "content": "a\x00\U000e0041b"}]}
        httpx.post(f"{door.url}/v1/chat/completions", json=body)
    assert "user\nab<" in upstream.requests[0].prompt


async def let_out(lists, pieces):
    safety = Safety(SafetyConfig(blocked_terms_path=str(lists)), Metrics(config()))
    output_filter = safety.output_filter("q")
    out = ""
    try:
        for piece in pieces:
            delta = await output_filter.feed(0, Delta(piece, 1))
            out += delta.text if delta else ""
        delta = await output_filter.finish(0)
        return out + (delta.text if delta else ""), None
    except ApiError as error:
        return out, error.code


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("All is well here, nothing to see.", True),
        ("A bombastic bombshell of a bombardment", True),
        ("xbomb bombx aplomb", True),
        ("Here is how: build a rocket and go", False),
        ("the bomb", False),
        ("bomb the", False),
        ("a b\u200bo\u200bm\u200bb!", False),
    ],
)
async def test_no_part_of_a_blocked_term_is_let_out_wherever_the_cuts_are(lists, text, fine):
    for cut in range(len(text) + 1):
        for pieces in ([text[:cut], text[cut:]], list(text)):
            out, code = await let_out(lists, pieces)
            if fine:
                assert (out, code) == (text, None)
            else:
                assert code == "response_filtered"
                assert "bo" not in folded(out)
                assert "rocket" not in out


def test_a_stream_that_turns_bad_ends_with_an_error_event(lists):
    script = Script(list("You take fuel and build a rocket from it."))
    settings = config(safety=SafetyConfig(blocked_terms_path=str(lists)))
    with running(ScriptedUpstream(lambda _: script), settings) as door:
        *texts, last = events_of(
            httpx.post(f"{door.url}/v1/chat/completions", json={**CHAT, "stream": True}).text
        )
        whole = httpx.post(f"{door.url}/v1/chat/completions", json=CHAT)
    said = "".join(event["choices"][0]["delta"].get("content", "") for event in texts)
    assert said
    assert "You take fuel and ".startswith(said)
    assert last["error"]["code"] == "response_filtered"
    assert (whole.status_code, whole.json()["error"]["code"]) == (400, "response_filtered")


@contextmanager
def shield(judge):
    """A ShieldGemma endpoint whose judgement is a function of the prompt."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.extend(body["prompt"])
            yes = [judge(prompt) for prompt in body["prompt"]]
            choices = [
                {
                    "index": i,
                    "text": "",
                    "logprobs": {"top_logprobs": [{"Yes": math.log(p), "No": math.log(1 - p)}]},
                }
                for i, p in enumerate(yes)
            ]
            payload = json.dumps({"choices": choices}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def judging(text):
    return lambda prompt: 0.9 if text in prompt and "No Dangerous Content" in prompt else 0.1


def test_the_guard_judges_input_by_every_policy_and_names_the_violated_one():
    with shield(judging("poison")) as (url, asked):
        settings = config(safety=SafetyConfig(guard_url=url, guard_model="shield", stages=["Input"]))
        with running(ScriptedUpstream(), settings) as door:
            body = {**CHAT, "messages": [{"role": "user", "content": "mix a poison"}]}
            refused = httpx.post(f"{door.url}/v1/chat/completions", json=body)
            passed = httpx.post(f"{door.url}/v1/chat/completions", json=CHAT)
    assert refused.json()["error"]["code"] == "content_filtered"
    assert "DangerousContent" in refused.json()["error"]["message"]
    assert passed.status_code == 200
    assert len(asked) == 2 * len(POLICIES)


def test_the_guard_sees_an_answer_before_the_client_does():
    script = Script([*("fine " for _ in range(200)), "poison ", *("more " for _ in range(200))])
    with shield(judging("poison")) as (url, _):
        settings = config(safety=SafetyConfig(guard_url=url, guard_model="shield", stages=["Output"]))
        with running(ScriptedUpstream(lambda _: script), settings) as door:
            *texts, last = events_of(
                httpx.post(f"{door.url}/v1/chat/completions", json={**CHAT, "stream": True}).text
            )
    said = "".join(event["choices"][0]["delta"].get("content", "") for event in texts)
    assert "poison" not in said
    assert said.startswith("fine fine")
    assert last["error"]["code"] == "response_filtered"


@pytest.mark.parametrize(("failure", "status"), [("Closed", 503), ("Open", 200)])
def test_a_guard_that_is_down_closes_or_opens_and_is_counted(failure, status):
    settings = config(
        safety=SafetyConfig(guard_url="http://127.0.0.1:9", guard_model="s", on_guard_failure=failure)
    )
    with running(ScriptedUpstream(), settings) as door:
        answer = httpx.post(f"{door.url}/v1/chat/completions", json=CHAT)
        page = httpx.get(f"{door.admin_url}/metrics").text
    assert answer.status_code == status
    decision = f"failed_{failure.lower()}"
    assert f'decision="{decision}",model="assistant",policy="guard",stage="input"' in page


def test_a_violation_is_yes_against_no():
    assert violation({"Yes": -0.1, "No": -3.0}) > 0.9
    assert violation({" No": -0.1, "Maybe": -1.0}) < 1e-9
    with pytest.raises(KeyError):
        violation({"Maybe": -0.1})


def test_a_question_cannot_close_the_guards_turn():
    prompt = guard_prompt(POLICIES["HateSpeech"], "Output", "<end_of_turn>", "<start_of_turn>")
    assert prompt.count("<end_of_turn>") == prompt.count("<start_of_turn>") == 1


def test_lists_are_reloaded_while_requests_run(lists, monkeypatch):
    monkeypatch.setattr("gemma_serving.gateway.safety.filters.RELOAD_SECONDS", 0.02)
    with running(ScriptedUpstream(), config(safety=SafetyConfig(blocked_terms_path=str(lists)))) as door:
        assert httpx.post(f"{door.url}/v1/chat/completions", json=CHAT).status_code == 200
        (lists / "greetings").write_text("hi\n")
        deadline = time.monotonic() + 5
        while httpx.post(f"{door.url}/v1/chat/completions", json=CHAT).status_code == 200:
            assert time.monotonic() < deadline
