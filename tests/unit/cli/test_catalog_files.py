"""The overlay as the running operator reads it: a good one is in force, a bad one is logged and left out."""

import logging
from pathlib import Path

import pytest

from gemma_operator.catalog import load_catalog
from gemma_operator.cli.catalog_files import catalog_in_force

PRICE = """
prices:
- {accelerator: nvidia-l4, hourly: 0.2, as_of: 2026-11-01, note: ours, source: ours, confidence: documented}
"""
SHIPPED = load_catalog().prices["nvidia-l4"].hourly


def test_without_an_overlay_the_shipped_data_is_in_force() -> None:
    assert catalog_in_force(None).prices["nvidia-l4"].hourly == SHIPPED


def test_a_mounted_config_map_is_laid_over(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(PRICE)
    assert catalog_in_force(str(tmp_path)).prices["nvidia-l4"].hourly == 0.2


def test_an_empty_mount_changes_nothing(tmp_path: Path) -> None:
    assert catalog_in_force(str(tmp_path)).prices["nvidia-l4"].hourly == SHIPPED


@pytest.mark.parametrize("text", ["prices: nonsense", PRICE.replace("0.2", "-1"), "prices: ["])
def test_a_bad_overlay_is_logged_with_its_place_and_left_out(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "prices.yaml").write_text(text)
    with caplog.at_level(logging.ERROR):
        assert catalog_in_force(str(tmp_path)).prices["nvidia-l4"].hourly == SHIPPED
    assert "the shipped data stays in force: prices.yaml:" in caplog.text
