"""A checkpoint's own chat template: found, preferred, and kept in its sandbox."""

import json
import struct

import pytest

from gemma_serving.gateway.errors import ApiError
from gemma_serving.gateway.prompts import conversation_from, format_for, format_of
from gemma_serving.gateway.prompts.checkpoint import find_template
from gemma_serving.gateway.prompts.template import CheckpointTemplate
from gemma_serving.gateway.schema.chat import ChatRequest

TEMPLATE = """{{ bos_token }}
{%- for message in messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception('roles must alternate') }}
    {%- endif -%}
    <{{ message['role'] }}>{{ message['content'] | trim }}</>
{%- endfor -%}
{%- if add_generation_prompt %}<model>{% endif -%}"""


def conversation(*messages):
    body = {"model": "m", "messages": [{"role": role, "content": content} for role, content in messages]}
    return conversation_from(ChatRequest.model_validate(body).messages)


def gguf(**texts):
    """The header of a GGUF file with a number, a list of texts, and texts."""

    def text(value):
        return struct.pack("<Q", len(value.encode())) + value.encode()

    pairs = [text("general.count") + struct.pack("<II", 4, 7)]
    pairs.append(text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"))
    pairs.append(text("scores") + struct.pack("<IIQ2f", 9, 6, 2, 0.5, 0.5))
    pairs += [text(key) + struct.pack("<I", 8) + text(value) for key, value in texts.items()]
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + b"".join(pairs)


def test_a_template_is_found_wherever_the_format_keeps_it(tmp_path):
    assert find_template(tmp_path) is None
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "plain"}))
    assert find_template(tmp_path) == "plain"
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "named"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert find_template(tmp_path) == "named"
    (tmp_path / "chat_template.jinja").write_text("own file")
    assert find_template(tmp_path) == "own file"
    file = tmp_path / "model.gguf"
    file.write_bytes(gguf(**{"tokenizer.chat_template": "in the header"}))
    assert find_template(file) == "in the header"
    file.write_bytes(gguf(other="x"))
    assert find_template(file) is None


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + b"\xff" * 40, b"nothing"])
def test_weights_that_cannot_be_read_fall_back_to_the_familys_format(tmp_path, content):
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    assert format_of("gemma3", file) is format_for("gemma3")


def test_a_template_that_does_not_compile_falls_back(tmp_path):
    (tmp_path / "chat_template.jinja").write_text("{% for %}")
    assert format_of("gemma3", tmp_path) is format_for("gemma3")


def test_the_checkpoints_template_is_preferred(tmp_path):
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    rendered = format_of("gemma3", tmp_path).render(
        conversation(("system", "S"), ("user", "a"), ("user", "b"))
    )
    assert rendered == "<user>S\n\na\nb</><model>"


def test_a_last_assistant_message_is_continued_without_its_closing():
    rendered = CheckpointTemplate(TEMPLATE, "gemma3").render(
        conversation(("user", "a"), ("assistant", "so far"))
    )
    assert rendered == "<user>a</><assistant>so far"


def test_a_printed_bos_is_taken_off():
    assert CheckpointTemplate("<bos>{{ bos_token }}x", "gemma3").render(conversation(("user", "a"))) == "x"


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('no') }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ range(10**9) | list }}",
        "{{ undefined.attribute }}",
    ],
)
def test_a_template_that_refuses_or_reaches_out_is_a_400(source):
    with pytest.raises(ApiError) as caught:
        CheckpointTemplate(source, "gemma3").render(conversation(("user", "a")))
    assert caught.value.status == 400


def test_options_reach_the_template_and_override_nothing():
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
    options = {"tone": "kind", "messages": [], "bos_token": "<bos>", "no identifier": 1}
    made = conversation_from(ChatRequest.model_validate(body).messages)
    made = type(made)(made.system, made.turns, options=options)
    template = CheckpointTemplate("{{ tone }} {{ messages | length }}{{ bos_token }}", "gemma3")
    assert template.render(made) == "kind 1"
