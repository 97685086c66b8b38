"""What the gateway takes besides text, and from where."""

from gemma_operator.api.manifest import Manifest
from gemma_operator.api.quantity import parse_bytes
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_serving.contract import MediaConfig

HTTPS_PORT = 443
ANYWHERE = {
    "0.0.0.0/0": (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
    ),
    "::/0": ("::1/128", "fc00::/7", "fe80::/10"),
}
"""Public addresses: everything but private (RFC 1918, 4193), shared (RFC 6598), link-local and loopback ones.
The gateway judges each address as well; this is the second lock."""


def media_config(spec: GemmaDeploymentSpec) -> MediaConfig | None:
    """The contract's part; None for its defaults."""
    media = spec.media
    size = parse_bytes(media.max_item_size)
    asked = MediaConfig(media.max_items, size, media.max_pixels, media.fetch_urls)
    return None if asked == MediaConfig() else asked


def media_egress(spec: GemmaDeploymentSpec) -> list[Manifest]:
    """Network policy rules towards the servers that images are fetched from."""
    if not spec.media.fetch_urls:
        return []
    blocks = [{"ipBlock": {"cidr": cidr, "except": list(inner)}} for cidr, inner in ANYWHERE.items()]
    return [{"to": blocks, "ports": [{"port": HTTPS_PORT, "protocol": "TCP"}]}]
