"""The OpenAPI document: request bodies from the types that parse them, answers as they are sent."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from gemma_serving.gateway.routes.tokenize import TokenizeRequest
from gemma_serving.gateway.schema.base import Body
from gemma_serving.gateway.schema.chat import ChatRequest
from gemma_serving.gateway.schema.completion import CompletionRequest

Schema = dict[str, Any]
_REF = "#/components/schemas/"
_BODIES: tuple[type[Body], ...] = (ChatRequest, CompletionRequest, TokenizeRequest)

_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_TEXT: Schema = {"type": "string"}
_ANY: Schema = {}


def _object(required: dict[str, Schema], **optional: Schema) -> Schema:
    return {"type": "object", "properties": {**required, **optional}, "required": list(required)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_ERROR = _object(
    {"error": _object({"message": _TEXT, "type": _TEXT, "param": _or_null(_TEXT), "code": _or_null(_TEXT)})}
)
_USAGE = _object({"prompt_tokens": _COUNT, "completion_tokens": _COUNT, "total_tokens": _COUNT})
_CALL = _object(
    {"id": _TEXT, "type": {"const": "function"}, "function": _object({"name": _TEXT, "arguments": _TEXT})}
)
_REASON: Schema = {"enum": ["stop", "length", "tool_calls"]}
_ENVELOPE: dict[str, Schema] = {
    "id": _TEXT,
    "object": _TEXT,
    "created": _COUNT,
    "model": _TEXT,
    "usage": _USAGE,
}
_CHAT_MESSAGE = _object(
    {"role": {"const": "assistant"}, "content": _or_null(_TEXT)},
    tool_calls=_list(_CALL),
    reasoning_content=_TEXT,
    refusal=_or_null(_TEXT),
)
_CHAT_CHOICE = _object(
    {"index": _COUNT, "message": _CHAT_MESSAGE, "finish_reason": _REASON, "logprobs": _or_null(_ANY)}
)
_TEXT_CHOICE = _object({"index": _COUNT, "text": _TEXT, "finish_reason": _REASON, "logprobs": _or_null(_ANY)})
_MODEL = _object(
    {
        "id": _TEXT,
        "object": {"const": "model"},
        "created": _COUNT,
        "owned_by": _TEXT,
        "max_model_len": _COUNT,
    },
    modalities=_list(_TEXT),
)
_ANSWERS: dict[str, Schema] = {
    "Error": _ERROR,
    "ChatCompletion": _object({**_ENVELOPE, "choices": _list(_CHAT_CHOICE)}),
    "Completion": _object({**_ENVELOPE, "choices": _list(_TEXT_CHOICE)}),
    "Model": _MODEL,
    "Models": _object({"object": {"const": "list"}, "data": _list(_MODEL)}),
    "Usage": _object({"key": _TEXT, "since": _COUNT, "requests": _COUNT, "limits": {"type": "object"}}),
    "Performance": _object({"requests": _COUNT, "success_percent": _or_null(_NUMBER)}, entries=_list(_ANY)),
    "Health": _object({"status": _TEXT, "reasons": _list(_TEXT), "engine": {"type": "object"}}),
    "Tokens": _object({"count": _COUNT, "max_model_len": _COUNT, "tokens": _or_null(_list(_COUNT))}),
}
_ERRORS = {
    "400": "The request cannot be served as it is.",
    "401": "No API key, or one that is not valid.",
    "404": "Another model than the served ones.",
    "405": "Another method than the documented ones.",
    "413": "The body is too large.",
    "429": "The queue is full, or the key has used what it may; see Retry-After.",
    "500": "The engine failed.",
    "503": "Shutting down, or no answer from the engine; see Retry-After.",
    "504": "The answer was not finished within the request's time.",
}


def document(models: list[str]) -> dict[str, Any]:
    """OpenAPI 3.1 for the served names."""
    _, bodies = models_json_schema([(body, "validation") for body in _BODIES], ref_template=_REF + "{model}")
    schemas: dict[str, Schema] = {**bodies["$defs"], **_ANSWERS}
    for body in _BODIES:
        schemas[body.__name__]["properties"]["model"] |= {"enum": models}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Gemma",
            "version": "1",
            "description": "OpenAI-compatible endpoint of a GemmaDeployment.",
        },
        "paths": _paths(models),
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    }


def _paths(models: list[str]) -> dict[str, Any]:
    last = {"type": "integer", "minimum": 1, "maximum": 1000}
    return {
        "/v1/chat/completions": {
            "post": _post("Answer a conversation", "ChatRequest", "ChatCompletion", True)
        },
        "/v1/completions": {"post": _post("Continue a text", "CompletionRequest", "Completion", True)},
        "/v1/models": {"get": _get("List the served models", "Models")},
        "/v1/models/{model}": {
            "get": {
                **_get("One served model", "Model"),
                "parameters": [{"name": "model", "in": "path", "required": True, "schema": {"enum": models}}],
            }
        },
        "/v1/usage": {"get": _get("What the asking key used", "Usage")},
        "/v1/performance": {
            "get": {
                **_get("How the last requests went", "Performance"),
                "parameters": [
                    {"name": "last", "in": "query", "schema": last},
                    {"name": "export", "in": "query", "schema": {"enum": ["true", "false"]}},
                ],
            }
        },
        "/tokenize": {
            "post": _post("Tokens of a text or a conversation", "TokenizeRequest", "Tokens", False)
        },
        "/health": {"get": _get("How the replica is", "Health", {"503": _json("Not serving.", "Health")})},
        "/openapi.json": {"get": _get("This document", None)},
    }


def _post(summary: str, body: str, answer: str, streams: bool) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": _REF + answer}}}
    if streams:
        # Server-sent events: no schema of OpenAPI 3.1 describes them.
        content["text/event-stream"] = {}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"$ref": _REF + body}}}},
        "responses": {"200": {"description": "The answer.", "content": content}, **_errors()},
    }


def _get(summary: str, answer: str | None, more: dict[str, Any] | None = None) -> dict[str, Any]:
    schema = {"$ref": _REF + answer} if answer else {"type": "object"}
    good = {"description": "The answer.", "content": {"application/json": {"schema": schema}}}
    return {"summary": summary, "responses": {"200": good, **_errors(), **(more or {})}}


def _errors() -> dict[str, Any]:
    return {status: _json(text, "Error") for status, text in _ERRORS.items()}


def _json(text: str, schema: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": {"$ref": _REF + schema}}}}
