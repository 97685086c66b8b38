"""Namespaces that enforce Pod Security `restricted`."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from gemma_devcluster import installation
from gemma_devcluster.kubectl import Kubectl


@contextmanager
def restricted_namespace(kubectl: Kubectl) -> Iterator[str]:
    """A new one, removed again also when the test fails."""
    name = f"restricted-{uuid.uuid4().hex[:8]}"
    kubectl.apply([installation.namespace(name)])
    try:
        yield name
    finally:
        kubectl.run("delete", "namespace", name, "--timeout=120s")
