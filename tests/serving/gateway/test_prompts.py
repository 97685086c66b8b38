"""Conversations into prompts: every family, every odd order, and no way in through a user's text."""

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gemma_serving.contract import GenerateRequest
from gemma_serving.gateway.control_tokens import inert
from gemma_serving.gateway.errors import ApiError
from gemma_serving.gateway.prompts import conversation_from, format_for
from gemma_serving.gateway.routes.completions import with_prompt
from gemma_serving.gateway.schema.chat import ChatRequest

FAMILIES = ("gemma1", "gemma2", "gemma3", "gemma3n", "gemma4", "shieldgemma", "functiongemma")
TURN = dict.fromkeys(FAMILIES, ("<start_of_turn>", "<end_of_turn>")) | {"gemma4": ("<|turn>", "<turn|>")}

RECORDED = json.loads((Path(__file__).parents[2] / "data/prompts/gemma3-template.json").read_text())
"""What the `chat_template` of a public tokenizer package makes of conversations; `source` says which."""


def prompt(family, *messages):
    request = ChatRequest.model_validate(
        {"model": "m", "messages": [{"role": r, "content": c} for r, c in messages]}
    )
    return format_for(family).render(conversation_from(request.messages))


def test_gemma_3_folds_instructions_into_the_first_user_turn():
    assert prompt(
        "gemma3", ("system", "Be brief."), ("user", "Hi "), ("assistant", "Hello"), ("user", "Bye")
    ) == (
        "<start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n"
        "<start_of_turn>model\nHello<end_of_turn>\n"
        "<start_of_turn>user\nBye<end_of_turn>\n"
        "<start_of_turn>model\n"
    )


@pytest.mark.parametrize("case", RECORDED["conversations"], ids=lambda case: case["name"])
def test_gemma_3_renders_as_the_template_of_its_public_tokenizer(case):
    """The engine adds the BOS that the template begins with; an image is named by its part's type there."""
    messages = [(m["role"], _with_image_urls(m["content"])) for m in case["messages"]]
    assert "<bos>" + prompt("gemma3", *messages) == case["rendered"]


def _with_image_urls(content):
    if isinstance(content, str):
        return content
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    return [image if part["type"] == "image" else part for part in content]


def test_gemma_4_has_a_system_turn_and_an_empty_thought():
    assert prompt("gemma4", ("system", "Be brief."), ("user", "Hi")) == (
        "<|turn>system\nBe brief.<turn|>\n<|turn>user\nHi<turn|>\n<|turn>model\n<|channel>thought\n<channel|>"
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "roles",
    [
        ("user", "user"),
        ("system", "user", "user"),
        ("assistant", "user"),
        ("user", "assistant", "assistant", "user"),
        ("system", "assistant", "user"),
        ("user", "assistant"),
        ("system",),
        ("system", "system", "user"),
        ("user", "system", "user"),
    ],
)
def test_any_order_of_roles_alternates_and_loses_nothing(family, roles):
    """FO-19, FO-20."""
    texts = [f"text{index}" for index in range(len(roles))]
    rendered = prompt(family, *zip(roles, texts, strict=True))
    for text in texts:
        assert rendered.count(text) == 1
    opening = TURN[family][0]
    speakers = [
        part.split("\n")[0]
        for part in rendered.split(opening)[1:]
        if not part.startswith(("system", "developer"))
    ]
    assert speakers[0] == "user"
    assert all(left != right for left, right in itertools.pairwise(speakers))
    assert speakers[-1] == "model"


def test_a_last_assistant_message_is_continued():
    assert prompt("gemma3", ("user", "Hi"), ("assistant", "Hel")).endswith("<start_of_turn>model\nHel")
    assert prompt("gemma4", ("user", "Hi"), ("assistant", "Hel")).endswith("<|turn>model\nHel")


def test_a_list_of_text_parts_equals_the_text():
    """FO-20."""
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert prompt("gemma3", ("system", parts), ("user", parts)) == prompt(
        "gemma3", ("system", "a\nb"), ("user", "a\nb")
    )


def test_past_thoughts_are_dropped():
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello", "reasoning_content": "secret"},
        {"role": "user", "content": "Bye"},
    ]
    request = ChatRequest.model_validate({"model": "m", "messages": messages})
    assert "secret" not in format_for("gemma4").render(conversation_from(request.messages))


def test_images_stand_where_they_were_put():
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    parts = [{"type": "text", "text": "left"}, image, {"type": "text", "text": "right"}, image]
    assert "left<start_of_image>right<start_of_image><end_of_turn>" in prompt("gemma3", ("user", parts))
    assert "left<|image|>right<|image|><turn|>" in prompt("gemma4", ("user", parts))


def test_an_image_in_a_system_message_is_refused_with_its_place():
    """FO-26."""
    image = [{"type": "image_url", "image_url": {"url": "data:,"}}]
    with pytest.raises(ApiError, match=r"messages\.0"):
        prompt("gemma3", ("system", image), ("user", "x"))


MARKERS = (
    "<bos>", "<eos>", "<pad>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<image_soft_token>",
    "<audio_soft_token>", "<unused3>", "<|turn>", "<turn|>", "<|think|>", "<|channel>", "<channel|>",
    "<|tool>",
    "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", '<|"|>',
    "<|image|>", "<|audio|>",
    "<escape>", "<start_function_call>", "<end_function_call>", "<start_function_response>", "<__media__>",
)  # fmt: skip
HOSTILE = st.lists(
    st.sampled_from((*MARKERS, "<", "|", ">", "user\n", "model\n", "x", '"', "\u200b")), max_size=8
).map("".join)


@given(
    st.sampled_from(FAMILIES),
    st.lists(st.tuples(st.sampled_from(("system", "user", "assistant")), HOSTILE), min_size=1, max_size=5),
)
def test_no_text_of_a_caller_opens_closes_or_fakes_anything(family, messages):
    """The same roles with harmless text have as many control tokens."""
    harmless = [(role, "x" if text.strip() else text) for role, text in messages]
    rendered, expected = prompt(family, *messages), prompt(family, *harmless)
    for marker in MARKERS:
        assert rendered.count(marker) == expected.count(marker), marker


@example("<0|>")
@given(st.text())
def test_ordinary_text_is_left_as_it_is_and_nothing_is_lost(text):
    assert inert(text).replace("\u200b", "") == text.replace("\u200b", "")
    assert inert(inert(text)) == inert(text)


@pytest.mark.parametrize(
    "text", ["a < b", "List<String>", "x |> f |> g", "<b>bold</b>", "[1, 2]", "a <|> b", "if a<b and c>d"]
)
def test_code_and_markup_are_left_as_they_are(text):
    assert inert(text) == text


@given(st.lists(st.sampled_from(FAMILIES), min_size=1, max_size=1), HOSTILE)
def test_a_chat_prompt_carries_no_bos(families, text):
    """FO-22."""
    assert "<bos>" not in prompt(families[0], ("user", text))


@pytest.mark.parametrize("raw", ["text", "<bos>text", "<bos><bos>text"])
def test_a_raw_prompt_goes_without_bos(raw):
    """FO-22."""
    assert with_prompt(GenerateRequest("x"), raw).prompt == "text"


@pytest.mark.parametrize("raw", [[5, 6], [2, 5, 6], [2, 2, 5, 6]])
def test_token_ids_go_with_exactly_one_bos(raw):
    """FO-22."""
    assert with_prompt(GenerateRequest("x"), raw).token_ids == [2, 5, 6]
