"""LoRA adapters in the status: on how many of the pods each is loaded, and why it is not. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gemma_operator.api.v1alpha1 import AdapterStateName, AdapterStatus
from gemma_operator.status.verdict import shortened


@dataclass(frozen=True, slots=True)
class AdapterFinding:
    """One adapter in one pod."""

    state: AdapterStateName
    message: str | None = None
    """Why it is not loaded."""


@dataclass(frozen=True, slots=True)
class PodAdapters:
    """What one ready pod says of the adapters that it is to have."""

    pod: str
    findings: Mapping[str, AdapterFinding]
    """By name, one for each."""

    @property
    def states(self) -> set[AdapterStateName]:
        """Those that occur."""
        return {finding.state for finding in self.findings.values()}


def read_adapters(wanted: Mapping[str, str], document: Any) -> dict[str, AdapterFinding]:
    """A gateway's `/health` held against what it is to have, name to path inside the pod.

    What it says of another path is of an adapter before: the kubelet has not brought the new file yet. Raises
    LookupError, TypeError or ValueError for a document that is none.
    """
    told = {each["name"]: each for each in document["adapters"]}
    return {name: _finding(path, told.get(name)) for name, path in wanted.items()}


def _finding(path: str, told: Mapping[str, Any] | None) -> AdapterFinding:
    if told is None or told["path"] != path:
        return AdapterFinding(AdapterStateName.LOADING)
    return AdapterFinding(AdapterStateName(told["state"]), told.get("message"))


def unreachable(wanted: Iterable[str], reason: str) -> dict[str, AdapterFinding]:
    """What is known of a pod that cannot be asked."""
    message = f"the operator cannot ask the pod: {reason}"
    return {name: AdapterFinding(AdapterStateName.UNKNOWN, message) for name in wanted}


def adapters_status(names: Sequence[str], pods: Sequence[PodAdapters]) -> list[AdapterStatus]:
    """One entry for each adapter. The worst pod speaks, the first of them by name."""
    return [_status(name, sorted(pods, key=lambda one: one.pod)) for name in names]


_WORST_FIRST = (AdapterStateName.FAILED, AdapterStateName.UNKNOWN, AdapterStateName.LOADING)


def _status(name: str, pods: Sequence[PodAdapters]) -> AdapterStatus:
    found = [(pod.pod, pod.findings[name]) for pod in pods]
    loaded = sum(finding.state is AdapterStateName.LOADED for _, finding in found)
    ready = f"{loaded}/{len(found)}"
    for state in _WORST_FIRST:
        for pod, finding in found:
            if finding.state is state:
                message = None if finding.message is None else shortened(f"pod {pod}: {finding.message}")
                return AdapterStatus(name=name, state=state, loaded=ready, message=message)
    state = AdapterStateName.LOADED if found else AdapterStateName.LOADING
    return AdapterStatus(name=name, state=state, loaded=ready)
