"""Nodes that have accelerators by their labels, and offer none to pods. Pure."""

from collections.abc import Mapping, Sequence

from gemma_operator.api.manifest import Manifest

VENDOR_PREFIX = "nvidia.com/"
"""Of the resources that NVIDIA's device plugin offers, MIG partitions among them."""


def nodes_without_driver(pod: Manifest, nodes: Sequence[Manifest]) -> list[str]:
    """Names of nodes that the pod's labels choose and that offer none of the devices that it asks for."""
    spec = pod.get("spec") or {}
    asked = {
        name
        for container in spec.get("containers") or ()
        for part in ((container.get("resources") or {}).get("limits") or {},)
        for name in part
        if name.startswith(VENDOR_PREFIX)
    }
    selector: Mapping[str, str] = spec.get("nodeSelector") or {}
    return [
        str(node["metadata"]["name"])
        for node in nodes
        if asked and selector and _has_labels(node, selector) and not _offers(node, asked)
    ]


def _has_labels(node: Manifest, selector: Mapping[str, str]) -> bool:
    labels: Mapping[str, str] = node["metadata"].get("labels") or {}
    return all(labels.get(name) == value for name, value in selector.items())


def _offers(node: Manifest, asked: set[str]) -> bool:
    allocatable: Mapping[str, str] = (node.get("status") or {}).get("allocatable") or {}
    return any(allocatable.get(name, "0") != "0" for name in asked)
