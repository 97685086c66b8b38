"""`POST /v1/chat/completions`."""

from __future__ import annotations

import dataclasses

from starlette.requests import Request
from starlette.responses import Response

from gemma_serving.gateway import errors
from gemma_serving.gateway.access.door import answer_limit
from gemma_serving.gateway.access.keys import Consumer
from gemma_serving.gateway.answers import Answer, Order
from gemma_serving.gateway.gateway import Gateway
from gemma_serving.gateway.prompts import conversation_from, texts_of
from gemma_serving.gateway.quality import Sample
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
        options=body.chat_template_kwargs or {},
    )
    media = await gateway.media.load(conversation.media)
    envelope = gateway.envelope("chatcmpl", body)
    consumer: Consumer = request.state.consumer
    answer_tokens = answer_limit(body.answer_tokens, consumer.limits)
    texts, question = texts_of(body.messages)
    await gateway.safety.check_input(texts, question)
    prompt = gateway.safety.clean(gateway.prompt_format.render(conversation))
    base = dataclasses.replace(
        gateway.generate_request(body, envelope.id, answer_tokens),
        prompt=prompt,
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        structure=tools.structure or structure,
    )
    jobs = [
        Job(dataclasses.replace(base, id=f"{envelope.id}-{i}", seed=seed), media)
        for i, seed in enumerate(choice_seeds(body.seed, body.n or 1))
    ]
    view = ChatView(envelope, [tools.parser() for _ in jobs], bool(body.logprobs))
    reserve = gateway.estimate_tokens([prompt], answer_tokens, len(jobs))
    sample = Sample(question, "", (body.metadata or {}).get("reference_answer"))
    output_filter = gateway.safety.output_filter(question)
    order = Order(consumer, jobs, reserve, len(jobs), bool(body.stream), output_filter, sample)
    return Answer(gateway, order, view)


def choice_seeds(seed: int | None, count: int) -> list[int | None]:
    """One seed per choice: equal seeds would give equal answers."""
    return [None if seed is None else seed + index for index in range(count)]
