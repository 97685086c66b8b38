"""Media and placeholders; the other fields are in the conformance suite."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gemma_serving.contract import MediaConfig
from gemma_serving.engines.families import media_kinds
from gemma_serving.engines.protocol import EngineFailureError
from gemma_serving.engines.validation import refuse_beside_a_drafter, validate
from support.generating import request
from support.runtime_configs import runtime_config

MULTIMODAL = runtime_config(family="gemma4", modalities=["text", "image", "audio"])


def test_media_and_placeholders_must_match_in_number() -> None:
    with pytest.raises(
        EngineFailureError, match=r"1 media placeholder\(s\), the request carries 2"
    ) as raised:
        validate(request("<|image|>"), [b"a", b"b"], MULTIMODAL)
    assert raised.value.param == "media"


@pytest.mark.parametrize(("media", "most"), [(None, 8), (MediaConfig(max_items=2), 2)])
def test_more_media_than_the_gateway_allows_reach_no_engine(media: MediaConfig | None, most: int) -> None:
    config = replace(MULTIMODAL, media=media)
    validate(request("<|image|>" * most), [b"a"] * most, config)
    with pytest.raises(EngineFailureError, match=f"carries {most + 1} media items; at most {most}"):
        validate(request("<|image|>" * (most + 1)), [b"a"] * (most + 1), config)


def test_media_need_a_text_prompt() -> None:
    with pytest.raises(EngineFailureError, match="placeholders"):
        validate(request(None, token_ids=[2, 5]), [b"a"], MULTIMODAL)


def test_placeholders_say_what_each_item_is() -> None:
    assert media_kinds("a <|audio|> b <|image|><|audio|>", "gemma4") == ["audio", "image", "audio"]
    assert media_kinds("<|image|>", "gemma2") == []


def test_field_that_an_engine_lacks_beside_a_drafter_is_refused_by_name() -> None:
    names = ("min_p", "logit_bias", "repetition_penalty")
    refuse_beside_a_drafter(request("x", min_p=0.0, logit_bias={}, repetition_penalty=1.0), names)
    for field, value in {"min_p": 0.1, "logit_bias": {"5": 1.0}, "repetition_penalty": 1.2}.items():
        with pytest.raises(EngineFailureError, match="drafts tokens ahead") as raised:
            refuse_beside_a_drafter(request("x", **{field: value}), names)
        assert (raised.value.code, raised.value.param) == ("unsupported", field)
