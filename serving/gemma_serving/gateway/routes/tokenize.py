"""`POST /tokenize`: the tokens of a prompt or a conversation, by the engine itself."""

from __future__ import annotations

import dataclasses
import uuid
from contextlib import aclosing

from pydantic import Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from gemma_serving.contract import Accepted, GenerateRequest
from gemma_serving.gateway import errors
from gemma_serving.gateway.answers import json_response
from gemma_serving.gateway.gateway import Gateway
from gemma_serving.gateway.prompts import conversation_from
from gemma_serving.gateway.routes.body import read_body
from gemma_serving.gateway.routes.completions import with_prompt
from gemma_serving.gateway.schema.base import Body, parse
from gemma_serving.gateway.schema.chat import MAX_MESSAGES, Message, Tool
from gemma_serving.gateway.schema.completion import Text
from gemma_serving.gateway.tools.choice import declared_functions
from gemma_serving.gateway.upstream import UpstreamError


class TokenizeRequest(Body):
    """Exactly one of prompt and messages."""

    model: str
    prompt: Text | None = None
    """Raw text; BOS is counted."""
    messages: list[Message] | None = Field(default=None, min_length=1, max_length=MAX_MESSAGES)
    """A conversation, rendered as for chat."""
    tools: list[Tool] | None = None
    """Declared with the conversation."""

    @model_validator(mode="after")
    def _one_input(self) -> TokenizeRequest:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("prompt: exactly one of prompt and messages must be given")
        return self


async def tokenize(request: Request) -> Response:
    """Ids and their number, as vLLM's route of this name answers.

    Not admitted to a slot: the engine is cancelled as soon as it has counted.
    """
    gateway: Gateway = request.app.state.gateway
    body = parse(TokenizeRequest, await read_body(request))
    gateway.adapter_of(body.model)
    base = GenerateRequest(id=f"tokenize-{uuid.uuid4().hex}", max_tokens=1, wants_token_ids=True)
    if body.prompt is not None:
        asked = with_prompt(base, body.prompt)
    else:
        functions = declared_functions(body.tools or ())
        conversation = dataclasses.replace(conversation_from(body.messages or ()), tools=functions)
        asked = dataclasses.replace(base, prompt=gateway.prompt_format.render(conversation))
    accepted = await _accepted(gateway, asked)
    answer = {"count": accepted.prompt_tokens, "max_model_len": gateway.config.context_length}
    return json_response({**answer, "tokens": accepted.token_ids})


async def _accepted(gateway: Gateway, asked: GenerateRequest) -> Accepted:
    try:
        async with aclosing(gateway.engine.upstream.generate(asked)) as events:
            async for event in events:
                if event.accepted is not None:
                    return event.accepted
                if event.failed is not None:
                    raise errors.from_failure(event.failed)
    except UpstreamError as error:
        raise errors.engine_unavailable(str(error)) from error
    raise errors.engine_unavailable("it ended the answer without a result")
