"""A platform team's own rows: they win over the shipped ones, or the whole overlay is refused with the
place."""

import pytest
from tests.support.planning import planned, refused, spec

from gemma_operator.api.v1alpha1 import EngineName
from gemma_operator.catalog import OverlayError, load_catalog, with_overlay

PRICE = """
prices:
- {accelerator: nvidia-l4, hourly: 0.2, as_of: 2026-11-01, note: our contract, source: ours,
   confidence: documented}
"""
ARM_IMAGE = """
engines:
- {engine: VLLM, version: 0.27.1, tag: 26.08-arm64, host_architectures: [arm64], default: true,
   source: our registry, confidence: measured}
"""
CARD = """
our-card:
  name: Our card
  architecture_name: Ada
  throughput_class: ada
  compute_capability: "8.9"
  host_architecture: amd64
  memory_gib: 47.0
  memory_confidence: measured
  bandwidth_gbps: 800
  tflops: {bf16: 300, fp8: 600}
  counts: [1, 2]
  source: nvidia-smi
  confidence: measured
"""


def test_a_price_replaces_the_shipped_one() -> None:
    catalog = with_overlay({"prices.yaml": PRICE})
    plan = planned(spec("gemma-3-4b-it", hardware={"accelerator": "nvidia-l4"}), catalog=catalog)
    assert plan.outlook is not None
    assert plan.outlook.hourly_cost == 0.2
    assert "our contract" in plan.outlook.price_note


def test_an_arm_image_opens_grace_hosts() -> None:
    wanted = spec("gemma-4-31b-it", hardware={"accelerator": "nvidia-gb200"})
    assert "arm64" in refused(wanted).message
    plan = planned(wanted, catalog=with_overlay({"engines.yaml": ARM_IMAGE}))
    assert plan.image.endswith(":26.08-arm64")
    assert plan.engine is EngineName.VLLM


def test_a_new_accelerator_can_be_planned_on() -> None:
    catalog = with_overlay({"accelerators.yaml": CARD})
    assert planned(spec("gemma-3-12b-it", hardware={"accelerator": "our-card"}), catalog=catalog).count == 1


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("prices.yml", PRICE, "prices.yml: no such catalogue file; there are architectures.yaml"),
        ("prices.yaml", "prices: [", "prices.yaml: not YAML"),
        ("prices.yaml", "- 1", "prices.yaml: expected a mapping of rows, got list"),
        ("prices.yaml", "prices: 3", "prices.yaml: prices: expected a list of rows"),
        ("prices.yaml", "prices: [{accelerator: x}]", "prices.yaml: prices[0]: source: Field required"),
        (
            "prices.yaml",
            PRICE.replace("0.2", "-1"),
            "prices.yaml: prices[0]: hourly: Input should be greater than 0",
        ),
        (
            "accelerators.yaml",
            CARD.replace("memory_gib", "memory_gb"),
            "accelerators.yaml: our-card: memory_gib: Field",
        ),
        (
            "accelerators.yaml",
            CARD.replace("  counts", "  colour: red\n  counts"),
            "our-card: colour: Extra inputs",
        ),
        ("variants.yaml", "gemma-9: {generation: Gemma 9}", "variants.yaml: gemma-9: "),
        (
            "checkpoints.yaml",
            "checkpoints: [{variant: no-such, precision: BF16, format: gguf, scheme: bf16, repository: a/b,"
            " files: [x], engines: [VLLM], source: s, confidence: measured}]",
            "checkpoints.yaml: checkpoints[0]: no variant 'no-such'",
        ),
    ],
)
def test_a_bad_overlay_is_refused_with_file_row_and_reason(file: str, text: str, words: str) -> None:
    with pytest.raises(OverlayError) as refusal:
        with_overlay({file: text})
    assert words in str(refusal.value)


def test_a_bad_file_beside_a_good_one_refuses_both_and_leaves_the_shipped_data() -> None:
    with pytest.raises(OverlayError):
        with_overlay({"prices.yaml": PRICE, "engines.yaml": "engines: nonsense"})
    assert load_catalog().prices["nvidia-l4"].hourly != 0.2


def test_an_empty_overlay_changes_nothing() -> None:
    assert with_overlay({}).prices == load_catalog().prices
    assert with_overlay({"prices.yaml": ""}).prices == load_catalog().prices
