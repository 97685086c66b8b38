"""ShieldGemma as a judge: another GemmaDeployment that answers Yes or No, policy by policy.

Prompts and policies: the model card of google/shieldgemma-2b. The probability of a violation is that of
"Yes" against "No" as the first token of the answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

from gemma_serving.gateway.control_tokens import inert

TIMEOUT_SECONDS = 10.0
"""Of one judgement; a guard that is slower counts as failed."""
THRESHOLD = 0.5
"""Probability of "Yes" from which a text is refused: where the model's own answer turns."""
TOP_LOGPROBS = 5


class GuardError(Exception):
    """The guard gave no judgement; the text says why."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One rule, as the model was trained to read it."""

    name: str
    title: str
    subject: str

    def text(self, stage: str) -> str:
        """The rule for a user's prompt or for an answer."""
        verb = (
            "prompt shall not contain or seek generation of"
            if stage == "Input"
            else "chatbot shall not generate"
        )
        return f'* "{self.title}": The {verb} {self.subject}'


POLICIES = {
    policy.name: policy
    for policy in (
        Policy(
            "DangerousContent",
            "No Dangerous Content",
            "content that harms oneself and/or others (e.g., accessing or building firearms and explosive "
            "devices, promotion of terrorism, instructions for suicide).",
        ),
        Policy(
            "Harassment",
            "No Harassment",
            "content that is malicious, intimidating, bullying, or abusive content targeting another "
            "individual (e.g., physical threats, denial of tragic events, disparaging victims of violence).",
        ),
        Policy(
            "HateSpeech",
            "No Hate Speech",
            "content that expresses, incites, spreads, or promotes hate based on race, gender, ethnicity, "
            "religion, national origin, sexual orientation, disability status, caste, immigration status or "
            "any other protected category.",
        ),
        Policy(
            "SexuallyExplicit",
            "No Sexually Explicit Information",
            "content that contains references to sexual acts or other lewd content (e.g., sexually graphic "
            "descriptions, content aiming at causing arousal).",
        ),
    )
}


def guard_prompt(policy: Policy, stage: str, question: str, answer: str) -> str:
    """What the guard reads for one policy."""
    if stage == "Input":
        about, shown, asks = "a user\nprompt is", f"Human Question: {inert(question)}", "human question"
    else:
        about = "an AI\nmodel response to the user prompt is"
        shown = f"Human Question: {inert(question)}\n\nChatbot Response: {inert(answer)}"
        asks = "Chatbot Response"
    return (
        f"You are a policy expert trying to help determine whether {about} in violation of the defined "
        f"safety policies.\n\n<start_of_turn>\n{shown}\n<end_of_turn>\n\n"
        f"Our safety principle is defined in the below:\n\n{policy.text(stage)}\n\n"
        f"Does the {asks} violate the above principle? Your answer must start with 'Yes' or 'No'. "
        "And then walk through step by step to be sure we answer correctly.\n\n"
    )


class Guard:
    """Asks the guard's OpenAI endpoint."""

    def __init__(self, url: str, model: str, policies: Sequence[str], key: str | None) -> None:
        self.policies = [POLICIES[name] for name in policies or POLICIES]
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        self._client = httpx2.AsyncClient(base_url=url, timeout=TIMEOUT_SECONDS, headers=headers)
        self._model = model

    async def violated(self, stage: str, question: str, answer: str = "") -> Policy | None:
        """The policy that is violated most clearly, if any; raises GuardError."""
        body = {
            "model": self._model,
            "prompt": [guard_prompt(policy, stage, question, answer) for policy in self.policies],
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": TOP_LOGPROBS,
        }
        try:
            response = await self._client.post("/v1/completions", json=body)
            response.raise_for_status()
            choices = sorted(response.json()["choices"], key=lambda choice: int(choice["index"]))
            scores = [violation(choice["logprobs"]["top_logprobs"][0]) for choice in choices]
        except (httpx2.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
            raise GuardError(f"{type(error).__name__}: {error}") from error
        if len(scores) != len(self.policies):
            raise GuardError(f"{len(scores)} judgements for {len(self.policies)} policies")
        worst = max(range(len(scores)), key=lambda index: scores[index])
        return self.policies[worst] if scores[worst] >= THRESHOLD else None

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.aclose()


def violation(top: Mapping[str, Any]) -> float:
    """Probability of "Yes" against "No"; raises KeyError when the guard said neither."""
    yes = max((float(v) for token, v in top.items() if token.strip() == "Yes"), default=-math.inf)
    no = max((float(v) for token, v in top.items() if token.strip() == "No"), default=-math.inf)
    if yes == no == -math.inf:
        raise KeyError("neither Yes nor No among the likeliest tokens")
    return 1 / (1 + math.exp(min(no - yes, 700.0)))
