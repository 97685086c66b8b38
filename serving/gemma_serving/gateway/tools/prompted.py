"""Calls by agreement: Gemma 1 to 3n have no markers, the prompt asks for JSON, and some write Python calls
anyway.

Both forms of ai.google.dev/gemma/docs/capabilities/function-calling are read, bare or in a code fence:
`{"name": "f", "parameters": {…}}` and `[f(a=1), g(b="x")]`.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from gemma_serving.gateway.control_tokens import inert
from gemma_serving.gateway.parts import Content, Part
from gemma_serving.gateway.tools.calls import CallWriter
from gemma_serving.gateway.tools.holding import safe_length

INSTRUCTIONS = (
    "You have access to functions. If you decide to invoke any of the function(s), "
    "you MUST put it in the format of\n"
    '{"name": function name, "parameters": dictionary of argument name and its value}\n'
    "You SHOULD NOT include any other text in the response if you call a function"
)


def declared(tools: Sequence[Mapping[str, Any]]) -> str:
    """Instructions and functions, as Google words them for models without tool markers."""
    return f"{INSTRUCTIONS}\n{inert(json.dumps(tools, ensure_ascii=False, indent=1))}" if tools else ""


FENCE = "```"
FENCE_LANGUAGES = frozenset(("", "json", "tool_call", "tool_code", "tool_use"))
"""Languages of a fence that may hold calls; any other fence is an answer's code."""
MAX_CANDIDATE_CHARACTERS = 200_000
"""Beyond it a text is no call: bounds what the parsers are given."""
MAX_PYTHON_CHARACTERS = 20_000
"""Python's parser is recursive: it gets short texts only."""
_PYTHON_CALL = re.compile(r"\s*\[?\s*[A-Za-z_][\w.]*\(")
_NAMES = {"true": True, "false": False, "null": None, "None": None, "True": True, "False": False}
_OPEN, _CLOSE = "([{", ")]}"

Call = tuple[str, Mapping[str, Any]]


class PromptedAnswer:
    """Holds back whatever may be a call, at the start or in a fence, and lets the rest flow."""

    def __init__(self, names: Collection[str], writer: CallWriter) -> None:
        self._names = frozenset(names)
        self._heads = tuple(f"{name}(" for name in names)
        self._writer = writer
        self._held = ""
        self._at_start = True

    def feed(self, text: str) -> list[Part]:
        """Parts that are certain by now."""
        self._held += text
        return self._take(final=False)

    def finish(self) -> list[Part]:
        """What was held back."""
        parts = self._take(final=True)
        rest, self._held = self._held, ""
        if rest.strip() or not self._writer.made:
            parts += [Content(rest)] if rest else []
        return parts

    def _take(self, final: bool) -> list[Part]:
        parts: list[Part] = []
        while self._held and self._step(parts, final):
            pass
        return parts

    def _step(self, parts: list[Part], final: bool) -> bool:
        """Take one piece off the held text; False when more must come first."""
        if not self._at_start:
            return self._flow(parts, final)
        body = self._held.lstrip()
        if not body:
            return False
        if body.startswith(FENCE):
            return self._fence(parts, self._held, final)
        if body[0] in "[{" or body.startswith(self._heads):
            return self._candidate(parts, body, final)
        if not final and any(head.startswith(body) for head in (FENCE, *self._heads)):
            return False
        self._at_start = False
        return True

    def _flow(self, parts: list[Part], final: bool) -> bool:
        fence = self._held.find(FENCE)
        if fence == 0:
            return self._fence(parts, self._held, final)
        length = fence if fence > 0 else len(self._held) if final else safe_length(self._held, [FENCE])
        if length:
            parts.append(Content(self._held[:length]))
            self._held = self._held[length:]
        return bool(length) and fence > 0

    def _fence(self, parts: list[Part], text: str, final: bool) -> bool:
        body = text.lstrip()
        opened = body.find("\n")
        if opened < 0 and not final:
            return False
        language = body[len(FENCE) : opened].strip()
        closed = body.find(FENCE, opened + 1) if opened >= 0 and language in FENCE_LANGUAGES else -1
        may_be_call = opened >= 0 and language in FENCE_LANGUAGES
        if may_be_call and closed < 0 and not final and len(body) < MAX_CANDIDATE_CHARACTERS:
            return False
        calls = read_calls(body[opened + 1 : closed], self._names) if closed >= 0 else []
        if calls:
            self._emit(parts, calls, body[closed + len(FENCE) :])
            return True
        # An answer's own code: let it go up to the fence's end, so that its end opens no new one.
        end = closed + len(FENCE) if closed >= 0 else max(opened + 1, len(FENCE))
        parts.append(Content(text[: len(text) - len(body)] + body[:end]))
        self._held, self._at_start = body[end:], False
        return True

    def _candidate(self, parts: list[Part], body: str, final: bool) -> bool:
        end = balanced_end(body)
        if end is None and not final and len(body) < MAX_CANDIDATE_CHARACTERS:
            return False
        calls = read_calls(body[:end], self._names) if end is not None else []
        if calls and end is not None:
            self._emit(parts, calls, body[end:].lstrip(";, \n"))
        else:
            self._at_start = False
        return True

    def _emit(self, parts: list[Part], calls: list[Call], rest: str) -> None:
        for name, arguments in calls:
            parts += self._writer.write(name, arguments)
        self._held, self._at_start = rest, True


def balanced_end(text: str) -> int | None:
    """End of the first bracketed group, strings respected; None while it is open."""
    depth, quote, at = 0, "", 0
    while at < len(text):
        char = text[at]
        if quote:
            if char == "\\":
                at += 1
            elif char == quote:
                quote = ""
        elif char in "\"'":
            quote = char
        elif char in _OPEN:
            depth += 1
        elif char in _CLOSE:
            depth -= 1
            if depth <= 0:
                return at + 1
        at += 1
    return None


def read_calls(text: str, names: Collection[str]) -> list[Call]:
    """Calls of known functions that `text` consists of; empty if it is anything else."""
    calls = _from_json(text) or _from_python(text)
    return calls if calls and all(name in names for name, _ in calls) else []


def _from_json(text: str) -> list[Call]:
    try:
        data = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return []
    if isinstance(data, dict) and isinstance(data.get("tool_calls"), list):
        data = data["tool_calls"]
    items = data if isinstance(data, list) else [data]
    calls = [_json_call(item) for item in items]
    return [call for call in calls if call is not None] if all(calls) else []


def _json_call(item: Any) -> Call | None:
    if isinstance(item, dict) and isinstance(item.get("function"), dict):
        item = item["function"]
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        return None
    arguments: Any = next((item[key] for key in ("parameters", "arguments", "args") if key in item), {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return None
    return (item["name"], arguments) if isinstance(arguments, dict) else None


def _from_python(text: str) -> list[Call]:
    if len(text) > MAX_PYTHON_CHARACTERS or not _PYTHON_CALL.match(text):
        return []
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        nodes = tree.elts if isinstance(tree, ast.List | ast.Tuple) else [tree]
        return [_python_call(node) for node in nodes]
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return []


def _python_call(node: ast.expr) -> Call:
    if not isinstance(node, ast.Call) or node.args:
        raise ValueError("not a call with named arguments")
    arguments: dict[str, Any] = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            raise ValueError("not a named argument")
        arguments[keyword.arg] = _literal(keyword.value)
    json.dumps(arguments, allow_nan=False)
    return ast.unparse(node.func), arguments


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Name) and node.id in _NAMES:
        return _NAMES[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        return {
            str(_literal(key)): _literal(value)
            for key, value in zip(node.keys, node.values, strict=True)
            if key
        }
    value = ast.literal_eval(node)
    if not isinstance(value, str | int | float | bool | None):
        raise ValueError("not a JSON value")
    return value
