"""The control plane of tests/apiserver, shared."""

from apiserver.conftest import control_plane

__all__ = ["control_plane"]
