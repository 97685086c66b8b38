"""`POST /v1/completions`."""

from __future__ import annotations

import dataclasses

from starlette.requests import Request
from starlette.responses import Response

from gemma_serving.contract import GenerateRequest
from gemma_serving.gateway import errors
from gemma_serving.gateway.access.door import answer_limit
from gemma_serving.gateway.access.keys import Consumer
from gemma_serving.gateway.answers import Answer, Order
from gemma_serving.gateway.gateway import Gateway
from gemma_serving.gateway.prompts.formats import BOS, BOS_ID
from gemma_serving.gateway.routes.body import read_body
from gemma_serving.gateway.routes.chat import choice_seeds
from gemma_serving.gateway.schema.base import parse
from gemma_serving.gateway.schema.completion import CompletionRequest
from gemma_serving.gateway.sequences import Job
from gemma_serving.gateway.structure import structure_for
from gemma_serving.gateway.views import CompletionView

DEFAULT_TOKENS = 16
"""OpenAI's default of this endpoint."""


async def completions(request: Request) -> Response:
    """Continue one or more texts."""
    gateway: Gateway = request.app.state.gateway
    body = parse(CompletionRequest, await read_body(request))
    consumer: Consumer = request.state.consumer
    asked = DEFAULT_TOKENS if body.max_tokens is None else body.max_tokens
    max_tokens = answer_limit(asked, consumer.limits)
    texts = [prompt for prompt in body.prompts if isinstance(prompt, str)]
    await gateway.safety.check_input(texts, "\n".join(texts))
    envelope = gateway.envelope("cmpl", body)
    base = dataclasses.replace(
        gateway.generate_request(body, envelope.id, max_tokens),
        logprobs=body.logprobs,
        structure=structure_for(body),
    )
    seeds = choice_seeds(body.seed, body.n or 1)
    jobs = [
        Job(with_prompt(dataclasses.replace(base, id=f"{envelope.id}-{i}-{j}", seed=seed), prompt))
        for i, prompt in enumerate(body.prompts)
        for j, seed in enumerate(seeds)
    ]
    echoes = [_echo(prompt, body) for prompt in body.prompts for _ in seeds]
    view = CompletionView(envelope, echoes, body.logprobs)
    output_filter = gateway.safety.output_filter("\n".join(texts))
    reserve = gateway.estimate_tokens(body.prompts, max_tokens, len(jobs))
    return Answer(gateway, Order(consumer, jobs, reserve, len(seeds), bool(body.stream), output_filter), view)


def with_prompt(request: GenerateRequest, prompt: str | list[int]) -> GenerateRequest:
    """`request` for a raw prompt. Text goes without BOS, ids with exactly one."""
    if isinstance(prompt, str):
        while prompt.startswith(BOS):
            prompt = prompt.removeprefix(BOS)
        return dataclasses.replace(request, prompt=prompt)
    body = next((i for i, token in enumerate(prompt) if token != BOS_ID), len(prompt))
    return dataclasses.replace(request, token_ids=[BOS_ID, *prompt[body:]])


def _echo(prompt: str | list[int], body: CompletionRequest) -> str:
    if not body.echo:
        return ""
    if not isinstance(prompt, str):
        raise errors.invalid("echo: only with text prompts, not with token ids", "echo", "unsupported")
    if body.logprobs is not None:
        raise errors.invalid("echo: not together with logprobs", "echo", "unsupported")
    return prompt
