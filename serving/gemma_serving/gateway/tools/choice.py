"""From `tools` and `tool_choice` to what is declared, how decoding is constrained, and how the answer is
read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gemma_serving.contract import Structure
from gemma_serving.gateway.errors import invalid
from gemma_serving.gateway.parts import OutputParser, PlainText
from gemma_serving.gateway.schema.chat import ChatRequest, NamedChoice, Tool
from gemma_serving.gateway.structure import check_schema
from gemma_serving.gateway.tools.calls import CallWriter
from gemma_serving.gateway.tools.forced import ForcedAnswer, named_schema, required_schema
from gemma_serving.gateway.tools.marked import FUNCTION_GEMMA, GEMMA4, MarkedAnswer
from gemma_serving.gateway.tools.prompted import PromptedAnswer

MARKED = {"gemma4": GEMMA4, "functiongemma": FUNCTION_GEMMA}


@dataclass(frozen=True, slots=True)
class ToolPlan:
    """What a request's tools mean for prompt, decoding and reading."""

    family: str
    functions: tuple[dict[str, Any], ...] = ()
    """Declared in the prompt."""
    structure: Structure | None = None
    """A call is forced: the answer is JSON of this form."""
    forced_name: str | None = None
    parallel: bool = True

    def parser(self) -> OutputParser:
        """A reader for one choice."""
        limit = None if self.parallel else 1
        if self.structure is not None:
            return ForcedAnswer(self.forced_name, CallWriter(limit))
        markers = MARKED.get(self.family)
        if markers is not None:
            return MarkedAnswer(markers, CallWriter(limit if self.functions else 0))
        if self.functions:
            return PromptedAnswer([function["name"] for function in self.functions], CallWriter(limit))
        return PlainText()


def plan_tools(body: ChatRequest, family: str) -> ToolPlan:
    """Raises ApiError for a choice that names no given function."""
    tools = body.tools or ()
    choice = body.tool_choice if body.tool_choice is not None else ("auto" if tools else "none")
    if choice == "none":
        return ToolPlan(family)
    if not tools:
        raise invalid("tool_choice: needs tools", "tool_choice", "validation_error")
    functions = declared_functions(tools)
    parallel = body.parallel_tool_calls is not False
    if choice == "auto":
        return ToolPlan(family, functions, parallel=parallel)
    if isinstance(choice, NamedChoice):
        return _named(family, functions, choice.function.name)
    for index, function in enumerate(functions):
        check_schema(named_schema(function), f"tools.{index}.function.parameters")
    return ToolPlan(family, functions, Structure(required_schema(functions, parallel)), parallel=parallel)


def _named(family: str, functions: Sequence[dict[str, Any]], name: str) -> ToolPlan:
    for index, function in enumerate(functions):
        if function["name"] == name:
            schema = named_schema(function)
            check_schema(schema, f"tools.{index}.function.parameters")
            return ToolPlan(family, (function,), Structure(schema), name, parallel=False)
    known = ", ".join(function["name"] for function in functions)
    raise invalid(f"tool_choice: no tool is called {name!r}; tools: {known}", "tool_choice.function.name")


def declared_functions(tools: Sequence[Tool]) -> tuple[dict[str, Any], ...]:
    """Functions as the prompt formats take them."""
    return tuple(map(_function, tools))


def _function(tool: Tool) -> dict[str, Any]:
    function = tool.function
    made: dict[str, Any] = {"name": function.name}
    if function.description:
        made["description"] = function.description
    if function.parameters is not None:
        made["parameters"] = function.parameters
    return made
