"""What the chart grants, and what of it the audit log has as used."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from apiserver.conftest import SYSTEM_NAMESPACE
from gemma_devcluster import builder
from gemma_devcluster.installation import CHART

FORBIDDEN = 403
GRANTED_KINDS = {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}
Grant = tuple[str, str, str]
"""(verb, API group, resource/subresource)."""


def grants(release: str, watched: list[str], component: str, **values: Any) -> list[dict[str, Any]]:
    """Account, roles and bindings of one component (`operator`, `front-door`), as the chart renders them."""
    helm = str(builder.ensure().path("helm"))
    given = json.dumps({"watchNamespaces": watched, "tests": {"enabled": False}, **values})
    arguments = ["template", release, str(CHART), "--namespace", SYSTEM_NAMESPACE, "--values", "-"]
    text = subprocess.run([helm, *arguments], input=given, capture_output=True, text=True, check=True).stdout
    return [
        document
        for document in yaml.safe_load_all(text)
        if document
        and document["kind"] in GRANTED_KINDS
        and document["metadata"]["labels"]["app.kubernetes.io/component"] == component
    ]


def account_of(documents: list[dict[str, Any]]) -> str:
    """The service account that they are granted to."""
    [name] = [d["metadata"]["name"] for d in documents if d["kind"] == "ServiceAccount"]
    return str(name)


def granted(documents: list[dict[str, Any]]) -> set[Grant]:
    return {
        (verb, group, resource)
        for document in documents
        for rule in document.get("rules", [])
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(log: Path, user: str) -> set[Grant]:
    """What a user asked for and got, in the whole log; a watch is in it when it has ended."""
    return {
        (
            event["verb"],
            reference.get("apiGroup", ""),
            "/".join(filter(None, (reference["resource"], reference.get("subresource")))),
        )
        for event in _answered(log, user)
        if "resource" in (reference := event.get("objectRef", {})) and not _is_refused(event)
    }


def refused(log: Path, user: str) -> list[str]:
    """Requests of a user that the API server answered with 403."""
    return [event["requestURI"] for event in _answered(log, user) if _is_refused(event)]


def _answered(log: Path, user: str) -> Iterator[dict[str, Any]]:
    for line in log.read_text().splitlines():
        event = json.loads(line)
        if event["stage"] == "ResponseComplete" and event["user"]["username"] == user:
            yield event


def _is_refused(event: dict[str, Any]) -> bool:
    return bool(event.get("responseStatus", {}).get("code") == FORBIDDEN)
