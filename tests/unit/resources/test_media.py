"""spec.media and what of spec.monitoring is the gateway's: into runtime.json and the network policy."""

import ipaddress
from typing import Any

import pytest

from gemma_operator.api.quantity import parse_bytes
from gemma_operator.api.v1alpha1 import DegradedSpec, GemmaDeploymentSpec, MediaSpec
from gemma_operator.resources.media import media_config, media_egress
from gemma_operator.resources.watching import health_config, quality_config
from gemma_serving.contract import HealthConfig, MediaConfig, QualityConfig


def spec(**fields: Any) -> GemmaDeploymentSpec:
    return GemmaDeploymentSpec.model_validate({"model": {"variant": "gemma-3-4b-it"}, **fields})


def test_what_is_not_asked_for_is_left_to_the_gateway() -> None:
    plain = spec()
    assert (media_config(plain), quality_config(plain), health_config(plain)) == (None, None, None)
    assert media_egress(plain) == []


def test_the_apis_defaults_are_the_gateways() -> None:
    """So that a field that is written out as its default takes no new pods."""
    media, degraded = MediaSpec(), DegradedSpec()
    assert MediaConfig() == MediaConfig(
        media.max_items, parse_bytes(media.max_item_size), media.max_pixels, media.fetch_urls
    )
    assert HealthConfig() == HealthConfig(
        degraded.canary_seconds, degraded.success_percent, degraded.queue_percent, degraded.memory_percent
    )


def test_limits_reach_the_gateway() -> None:
    asked = spec(media={"maxItems": 2, "maxItemSize": "1Mi", "maxPixels": 1000, "fetchUrls": True})
    assert media_config(asked) == MediaConfig(2, 2**20, 1000, fetch=True)
    judged = spec(monitoring={"degraded": {"canarySeconds": 3}, "qualitySamplePercent": 5})
    assert health_config(judged) == HealthConfig(canary_seconds=3)
    assert quality_config(judged) == QualityConfig(5)


@pytest.mark.parametrize(
    ("address", "reachable"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("192.168.0.1", False),
        ("fd00::1", False),
    ],
)
def test_fetching_opens_https_to_public_addresses_only(address: str, reachable: bool) -> None:
    [rule] = media_egress(spec(media={"fetchUrls": True}))
    assert rule["ports"] == [{"port": 443, "protocol": "TCP"}]
    target = ipaddress.ip_address(address)

    def within(cidr: str) -> bool:
        return target in ipaddress.ip_network(cidr)

    blocks = [each["ipBlock"] for each in rule["to"]]
    assert reachable == any(
        within(block["cidr"]) and not any(within(inner) for inner in block["except"]) for block in blocks
    )
