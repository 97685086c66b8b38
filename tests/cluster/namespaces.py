"""Namespaces of tests: all enforce Pod Security `restricted` and deny all traffic that no policy allows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gemma_devcluster import installation
from gemma_devcluster.kubectl import Kubectl


def default_deny(namespace: str) -> dict[str, Any]:
    """Nothing in and nothing out but what the chart and the operator allow by policies of their own."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "default-deny", "namespace": namespace},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    }


def guard(kubectl: Kubectl, name: str) -> None:
    """Make a namespace, or take one that is there, and guard it."""
    kubectl.apply([installation.namespace(name), default_deny(name)])


@contextmanager
def guarded_namespace(kubectl: Kubectl, name: str) -> Iterator[str]:
    """A guarded namespace, removed again with all that is in it, also when the test fails."""
    guard(kubectl, name)
    try:
        yield name
    finally:
        # Nobody needs this test's streams any more, and the next test needs its cores.
        kubectl.run("-n", name, "delete", "gemmadeployments", "--all", "--wait=false")
        kubectl.run("-n", name, "delete", "pods", "--all", "--force", "--grace-period=0")
        kubectl.run("delete", "namespace", name, "--wait=false")
