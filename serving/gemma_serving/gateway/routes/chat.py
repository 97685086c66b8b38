"""`POST /v1/chat/completions`."""

from __future__ import annotations

import dataclasses

from starlette.requests import Request
from starlette.responses import Response

from gemma_serving.gateway import errors
from gemma_serving.gateway.answers import Answer
from gemma_serving.gateway.gateway import Gateway
from gemma_serving.gateway.prompts import Conversation, conversation_from
from gemma_serving.gateway.routes.body import read_body
from gemma_serving.gateway.schema.base import parse
from gemma_serving.gateway.schema.chat import ChatRequest
from gemma_serving.gateway.sequences import Job
from gemma_serving.gateway.structure import structure_for
from gemma_serving.gateway.tools.choice import plan_tools
from gemma_serving.gateway.views import ChatView


async def chat_completions(request: Request) -> Response:
    """Answer a conversation."""
    gateway: Gateway = request.app.state.gateway
    body = parse(ChatRequest, await read_body(request))
    gateway.adapter_of(body.model)
    tools = plan_tools(body, gateway.config.family)
    structure = structure_for(body)
    if structure is not None and tools.functions:
        message = "response_format: a constrained answer cannot call tools; set tool_choice to none"
        raise errors.invalid(message, "response_format", "validation_error")
    conversation = dataclasses.replace(
        conversation_from(body.messages),
        tools=tools.functions,
        thinking=body.thinking and tools.structure is None,
    )
    _check_modalities(conversation, gateway)
    envelope = gateway.envelope("chatcmpl", body)
    base = dataclasses.replace(
        gateway.generate_request(body, envelope.id, body.answer_tokens),
        prompt=gateway.prompt_format.render(conversation),
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        structure=tools.structure or structure,
    )
    jobs = [
        Job(dataclasses.replace(base, id=f"{envelope.id}-{i}", seed=seed))
        for i, seed in enumerate(choice_seeds(body.seed, body.n or 1))
    ]
    view = ChatView(envelope, [tools.parser() for _ in jobs], bool(body.logprobs))
    return Answer(gateway.engine, request.state.key, jobs, view, bool(body.stream))


def choice_seeds(seed: int | None, count: int) -> list[int | None]:
    """One seed per choice: equal seeds would give equal answers."""
    return [None if seed is None else seed + index for index in range(count)]


def _check_modalities(conversation: Conversation, gateway: Gateway) -> None:
    for media in conversation.media:
        if media.kind not in gateway.config.modalities:
            what = "images" if media.kind == "image" else "audio"
            message = f"{media.param}: {gateway.config.variant} does not accept {what}"
            raise errors.invalid(message, media.param, "unsupported_modality")
