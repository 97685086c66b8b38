"""JSON merge patches (RFC 7386)."""

from gemma_operator.api.manifest import Manifest


def merge_patch(old: Manifest, new: Manifest) -> Manifest:
    """The JSON merge patch (RFC 7386) from one object to another."""
    patch: Manifest = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            if below := merge_patch(before, value):
                patch[name] = below
        elif name not in old or before != value:
            patch[name] = value
    return patch
