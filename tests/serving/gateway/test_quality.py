"""Scores of sampled answers."""

import time

import httpx
import pytest
from scripted import Script, ScriptedUpstream

from gemma_serving.contract import QualityConfig
from gemma_serving.gateway.quality import Sample, coherence, reference_overlap, relevance
from serving import config, running

CHAT = {"model": "assistant", "messages": [{"role": "user", "content": "Which river flows through Paris?"}]}


@pytest.mark.parametrize(
    ("scorer", "sample", "low", "high"),
    [
        (
            relevance,
            Sample("Which river flows through Paris?", "The river Seine flows through Paris."),
            0.9,
            1,
        ),
        (relevance, Sample("Which river flows through Paris?", "Bananas are yellow."), 0, 0),
        (coherence, Sample("", "The quick brown fox jumps over the lazy dog."), 1, 1),
        (coherence, Sample("", "you are a fox " * 20), 0, 0.2),
        (reference_overlap, Sample("", "It is the Seine", "the Seine"), 0.6, 0.7),
        (reference_overlap, Sample("", "No idea", "the Seine"), 0, 0),
    ],
)
def test_scores_tell_good_from_bad(scorer, sample, low, high):
    assert low <= scorer(sample) <= high


@pytest.mark.parametrize("scorer", [relevance, coherence, reference_overlap])
def test_a_scorer_without_material_says_nothing(scorer):
    assert scorer(Sample("", "")) is None


@pytest.mark.parametrize("streamed", [True, False])
def test_sampled_answers_become_metrics(streamed):
    script = Script(["The river Seine ", "flows through Paris."])
    settings = config(quality=QualityConfig(sample_percent=100))
    body = {**CHAT, "stream": streamed, "metadata": {"reference_answer": "the Seine"}}
    with running(ScriptedUpstream(lambda _: script), settings) as door:
        assert httpx.post(f"{door.url}/v1/chat/completions", json=body).status_code == 200
        deadline = time.monotonic() + 5
        names = ("relevance", "coherence", "reference_overlap")
        wanted = [f'gemma_quality_score_count{{model="assistant",scorer="{name}"}} 1.0' for name in names]
        while not all(line in httpx.get(f"{door.admin_url}/metrics").text for line in wanted):
            assert time.monotonic() < deadline


def test_nothing_is_sampled_unless_it_was_switched_on():
    with running(ScriptedUpstream(), config()) as door:
        httpx.post(f"{door.url}/v1/chat/completions", json=CHAT)
        assert "gemma_quality" not in httpx.get(f"{door.admin_url}/metrics").text
