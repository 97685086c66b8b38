"""Structured output: from the API's several spellings to one Structure, and what schemas may say.

The subset is what every engine's grammar compiler keeps (llguidance in llama.cpp, xgrammar in vLLM and
TensorRT-LLM). A keyword outside of it would be ignored by one of them: it is refused instead.
"""

from __future__ import annotations

import json
from typing import Any

from gemma_serving.contract import Structure
from gemma_serving.gateway.errors import ApiError, invalid
from gemma_serving.gateway.schema.chat import ChatRequest
from gemma_serving.gateway.schema.completion import CompletionRequest
from gemma_serving.gateway.schema.structured import JsonSchemaFormat, StructuredFields

_NOTES = ("title", "description", "default", "examples", "$schema", "$id", "$comment", "deprecated", "strict")
_COMBINING = ("type", "nullable", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "$defs", "definitions")
_OBJECTS = ("properties", "required", "additionalProperties")
_ARRAYS = ("items", "prefixItems", "minItems", "maxItems")
_STRINGS = ("minLength", "maxLength", "pattern", "format")
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
KEYWORDS = frozenset((*_NOTES, *_COMBINING, *_OBJECTS, *_ARRAYS, *_STRINGS, *_NUMBERS))
TYPES = frozenset(("object", "array", "string", "number", "integer", "boolean", "null"))
MAX_SCHEMA_CHARACTERS = 200_000
MAX_SCHEMA_DEPTH = 64


def structure_for(body: ChatRequest | CompletionRequest) -> Structure | None:
    """What the answer must look like; raises ApiError for two demands at once or a schema beyond the
    subset.
    """
    demands = guided(body)
    if isinstance(body, ChatRequest):
        demands += _response_format(body)
    if len(demands) > 1:
        names = " and ".join(name for name, _ in demands)
        raise invalid(f"{names}: only one of them can constrain an answer", demands[0][0], "validation_error")
    return demands[0][1] if demands else None


def _response_format(body: ChatRequest) -> list[tuple[str, Structure]]:
    wanted = body.response_format
    if wanted is None or wanted.type == "text":
        return []
    if not isinstance(wanted, JsonSchemaFormat):
        return [("response_format", Structure(json_schema={"type": "object"}))]
    schema = wanted.json_schema.schema_ or {"type": "object"}
    check_schema(schema, "response_format.json_schema.schema")
    return [("response_format", Structure(json_schema=schema))]


def guided(body: StructuredFields) -> list[tuple[str, Structure]]:
    """Demands in the spelling of vLLM's clients."""
    demands: list[tuple[str, Structure]] = []
    if body.guided_json is not None:
        schema = body.guided_json
        if isinstance(schema, str):
            try:
                schema = json.loads(schema)
            except ValueError as error:
                raise invalid(f"guided_json: not JSON: {error}", "guided_json") from error
        check_schema(schema, "guided_json")
        demands.append(("guided_json", Structure(json_schema=schema)))
    if body.guided_regex is not None:
        demands.append(("guided_regex", Structure(regex=body.guided_regex)))
    if body.guided_grammar is not None:
        demands.append(("guided_grammar", Structure(grammar=body.guided_grammar)))
    if body.guided_choice is not None:
        options = " | ".join(json.dumps(choice, ensure_ascii=False) for choice in body.guided_choice)
        demands.append(("guided_choice", Structure(grammar=f"root ::= {options}")))
    return demands


def check_schema(schema: Any, param: str) -> None:
    """Raises ApiError 400 that names the first keyword outside of the subset."""
    if len(json.dumps(schema)) > MAX_SCHEMA_CHARACTERS:
        raise invalid(
            f"{param}: longer than {MAX_SCHEMA_CHARACTERS} characters", param, "invalid_json_schema"
        )
    _check(schema, param, param, 0)


def _check(schema: Any, path: str, param: str, depth: int) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise _refused(f"{path}: a schema must be an object", param)
    if depth > MAX_SCHEMA_DEPTH:
        raise _refused(f"{path}: nested more than {MAX_SCHEMA_DEPTH} deep", param)
    unknown = sorted(set(schema) - KEYWORDS)
    if unknown:
        raise _refused(f"{path}: the keyword {unknown[0]!r} is not supported; see docs/gateway.md", param)
    kinds = schema.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if kind not in TYPES:
            raise _refused(f"{path}.type: {kind!r} is not a JSON type", param)
    reference = schema.get("$ref")
    if reference is not None and not (isinstance(reference, str) and reference.startswith("#")):
        raise _refused(f"{path}.$ref: only references within the schema (#/…) are followed", param)
    _check_children(schema, path, param, depth)


def _check_children(schema: dict[str, Any], path: str, param: str, depth: int) -> None:
    for keyword in ("properties", "$defs", "definitions"):
        members = schema.get(keyword, {})
        if not isinstance(members, dict):
            raise _refused(f"{path}.{keyword}: must be an object", param)
        for name, child in members.items():
            _check(child, f"{path}.{keyword}.{name}", param, depth + 1)
    for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
        children = schema.get(keyword, [])
        if not isinstance(children, list):
            raise _refused(f"{path}.{keyword}: must be a list", param)
        for index, child in enumerate(children):
            _check(child, f"{path}.{keyword}.{index}", param, depth + 1)
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            _check(schema[keyword], f"{path}.{keyword}", param, depth + 1)


def _refused(message: str, param: str) -> ApiError:
    return invalid(message, param, "invalid_json_schema")
