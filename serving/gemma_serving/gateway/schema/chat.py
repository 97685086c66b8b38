"""Body of `POST /v1/chat/completions`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from gemma_serving.gateway.schema.base import MAX_TOP_LOGPROBS, Body, Count, SamplingBody
from gemma_serving.gateway.schema.structured import ResponseFormat, StructuredFields

MAX_MESSAGES = 4096
MAX_PARTS = 512
MAX_TOOLS = 128
"""OpenAI's limit."""


class TextPart(Body):
    """A piece of text."""

    type: Literal["text"]
    text: str


class ImageUrl(Body):
    """Where an image is."""

    url: str
    """`data:` with base64, or `https:` where the deployment allows fetching."""
    detail: Literal["auto", "low", "high"] | None = None
    """Accepted; the variant fixes how many tokens an image takes."""


class ImagePart(Body):
    """An image."""

    type: Literal["image_url"]
    image_url: ImageUrl


class InputAudio(Body):
    """Recorded sound."""

    data: str
    """Base64."""
    format: Literal["wav", "mp3", "flac", "ogg"]


class AudioPart(Body):
    """A piece of sound."""

    type: Literal["input_audio"]
    input_audio: InputAudio


class RefusalPart(Body):
    """An earlier refusal of the assistant, read as its text."""

    type: Literal["refusal"]
    refusal: str


Part = Annotated[TextPart | ImagePart | AudioPart | RefusalPart, Field(discriminator="type")]
Content = str | Annotated[list[Part], Field(max_length=MAX_PARTS)]
Name = Annotated[str, Field(max_length=256)]


class FunctionCall(Body):
    """A call that the assistant made."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    arguments: str
    """JSON."""


class ToolCall(Body):
    """One of the assistant's earlier calls."""

    id: Name
    type: Literal["function"] = "function"
    function: FunctionCall
    index: int | None = None
    """Streaming clients send it back; it says nothing."""


class SystemMessage(Body):
    """Instructions."""

    role: Literal["system", "developer"]
    content: Content
    name: Name | None = None


class UserMessage(Body):
    """What the user said."""

    role: Literal["user"]
    content: Content
    name: Name | None = None


class AssistantMessage(Body):
    """What the model answered."""

    role: Literal["assistant"]
    content: Content | None = None
    name: Name | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    """Past thoughts: dropped, as the model was trained."""
    reasoning: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=MAX_TOOLS)] | None = None
    audio: None = None
    function_call: None = None
    annotations: list[Any] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> AssistantMessage:
        if self.content is None and not self.tool_calls and self.refusal is None:
            raise ValueError("content: an assistant message needs content or tool_calls")
        return self


class ToolMessage(Body):
    """What a tool answered."""

    role: Literal["tool"]
    content: Content
    tool_call_id: Name
    name: Name | None = None


class Function(Body):
    """A function that the model may call."""

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """A JSON schema."""
    strict: bool | None = None
    """Accepted; arguments are constrained whenever a call is forced."""


class Tool(Body):
    """A tool: always a function."""

    type: Literal["function"]
    function: Function


class FunctionName(Body):
    """Names a function."""

    name: str


class NamedChoice(Body):
    """Forces a call of one function."""

    type: Literal["function"]
    function: FunctionName


Message = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


class ChatRequest(SamplingBody, StructuredFields):
    """Answer a conversation."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    """The conversation; system messages are joined, neighbours of one role are merged."""
    max_completion_tokens: Count | None = None
    """Newer name of max_tokens; both are allowed when they agree."""
    logprobs: bool | None = None
    """Report the log probability of each token."""
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    """Alternatives per token; only with `logprobs`."""
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = None
    """Functions that the model may call."""
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None
    """Default: `auto` with tools. `required` and a named function are enforced by constrained decoding."""
    parallel_tool_calls: bool | None = None
    """False: one call at most."""
    response_format: ResponseFormat | None = None
    """`text`, `json_object` or `json_schema`."""
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    """Gemma 4 thinks unless it is `none`; default: no thinking."""
    chat_template_kwargs: dict[str, Any] | None = None
    """`enable_thinking` for Gemma 4; other entries reach a checkpoint's own template."""
    store: bool | None = None
    """Accepted; nothing is stored."""
    metadata: dict[str, str] | None = None
    """Accepted and not stored."""
    service_tier: str | None = None
    """Accepted; there is one tier."""
    safety_identifier: str | None = None
    """Accepted and not stored."""
    prompt_cache_key: str | None = None
    """Accepted; equal prefixes are cached anyway where the engine can."""

    @model_validator(mode="after")
    def _fields_agree(self) -> ChatRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs: only allowed when logprobs is true")
        both = self.max_tokens is not None and self.max_completion_tokens is not None
        if both and self.max_tokens != self.max_completion_tokens:
            raise ValueError("max_tokens: differs from max_completion_tokens; send one of them")
        return self

    @property
    def thinking(self) -> bool:
        """Whether the model is asked to think aloud."""
        wanted = (self.chat_template_kwargs or {}).get("enable_thinking")
        return bool(wanted) if wanted is not None else self.reasoning_effort not in (None, "none")

    @property
    def answer_tokens(self) -> int | None:
        """Longest answer asked for."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
