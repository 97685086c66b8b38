"""Why a pod is not ready, in the words of whoever knows: scheduler, kubelet, the container's last line."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gemma_operator.api.manifest import SERVING, Manifest
from gemma_operator.api.quantity import gib, parse_bytes
from gemma_operator.api.reasons import Reason, reason_named
from gemma_operator.status import growth
from gemma_operator.status.devices import VENDOR_PREFIX, nodes_without_driver

WEIGHTS_CONTAINER = "weights"
ADAPTER_CONTAINER_PREFIX = "weights-"

_IMAGE_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
_REFUSED_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_CREATING_REASONS = frozenset({"ContainerCreating", "PodInitializing"})
_TRITON_CLOSING_WORDS = "failed to load all models"
"""Triton's last line when a model does not load; the cause stands above it."""
_ACCELERATOR_FULL = (
    "CUDA out of memory",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "cudaErrorMemoryAllocation",
    "CUDA error: out of memory",
    "No available memory for the cache blocks",
    "larger than the available KV cache memory",
)
"""How PyTorch, the CUDA driver, TensorRT-LLM and vLLM (the last two) say that an accelerator is full."""
PROBE_FAILED = "Unhealthy"
"""Reason of the kubelet's Warning, whose message has what the probe saw."""
_NO_DEVICE = "UnexpectedAdmissionError"
"""How the kubelet turns a pod away whose devices went after it was placed."""
_NAMED_NODES = 3
_DRIVER_HINT = "is the NVIDIA driver installed there, and does the device plugin run"
_KILLED = 137
"""128 + SIGKILL."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why something does not run."""

    reason: Reason
    message: str
    on_accelerator: bool = False
    """Of OutOfMemory: whether it was the accelerator's memory and not the host's."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """A Warning event, or one of the cluster autoscaler."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class FetchReport:
    """What the weights fetcher says of itself, from its container's status."""

    is_done: bool
    is_running: bool
    attempt_started: str | None = field(default=None)
    """When the running attempt began (RFC 3339)."""
    failure: Trouble | None = field(default=None)
    """How the last finished attempt failed."""
    revision: str | None = field(default=None)
    bytes_done: int | None = field(default=None)
    bytes_total: int | None = field(default=None)
    pod: str = ""
    container: str = ""
    """Where it says how far it is."""


def trouble_of(
    pod: Manifest, role: str, complaint: Complaint | None, nodes: Sequence[Manifest] = ()
) -> Trouble | None:
    """What keeps a pod from running, or None while it only takes its time.

    `complaint` is the latest telling Event about the pod. In a serving pod a failed fetch is judged apart.
    """
    status = pod.get("status") or {}
    if status.get("phase") == "Failed" and status.get("reason"):
        return _turned_away(pod, status["reason"], status.get("message", ""))
    unscheduled = _unscheduled(pod, complaint, nodes)
    if unscheduled is not None:
        return unscheduled
    containers = [c for c in _container_statuses(pod) if role != SERVING or not _failed_to_fetch(pod, c)]
    for check in _CHECKS:
        for container in containers:
            trouble = check(pod, container)
            if trouble is not None:
                return _with_probe(trouble, complaint)
    if complaint is None or complaint.reason in growth.EVENTS or complaint.reason == PROBE_FAILED:
        return None  # a node was found all the same, and a probe fails while a model loads
    if all(_waiting(c).get("reason") in _CREATING_REASONS for c in containers):
        is_sandbox = complaint.reason == "FailedCreatePodSandBox"
        reason = Reason.CONTAINER_REFUSED if is_sandbox else Reason.VOLUME_UNAVAILABLE
        return Trouble(reason, f"pod {_name(pod)}: {complaint.message}")
    return None


def weights_fetch(pod: Manifest) -> FetchReport | None:
    """The state of the fetch, or None if the pod has none or it never started.

    Adapters come first, one container each, the model's files last: the first that is not done counts.
    """
    fetchers = [container for container in _container_statuses(pod) if _fetches(container)]
    if not fetchers:
        return None
    reports = [_fetch_report(pod, container) for container in fetchers]
    unfinished = next((index for index, report in enumerate(reports) if not report.is_done), len(reports) - 1)
    if fetchers[unfinished]["name"] == WEIGHTS_CONTAINER:
        return reports[unfinished]
    return _of_adapter(fetchers[unfinished], reports[unfinished])


def _fetches(container: Manifest) -> bool:
    name: str = container["name"]
    return name == WEIGHTS_CONTAINER or name.startswith(ADAPTER_CONTAINER_PREFIX)


def _of_adapter(container: Manifest, report: FetchReport) -> FetchReport:
    """Its failure says whose it is; revision and bytes in the status are the model's."""
    name = container["name"].removeprefix(ADAPTER_CONTAINER_PREFIX)
    failure = report.failure and replace(report.failure, message=f"adapter {name}: {report.failure.message}")
    return replace(report, failure=failure, revision=None, bytes_done=None, bytes_total=None)


def _fetch_report(pod: Manifest, container: Manifest) -> FetchReport:
    state = container.get("state") or {}
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
    report = _report(ended) if ended is not None else {}
    is_done = bool(state.get("terminated")) and ended is not None and ended.get("exitCode") == 0
    failure = None
    if ended is not None and ended.get("exitCode") != 0:
        failure = _fetch_failure(pod, container, ended, report)
    elif _waiting(container).get("reason") in _REFUSED_REASONS:
        failure = Trouble(Reason.TOKEN_REQUIRED, _waiting(container).get("message", ""))
    return FetchReport(
        is_done=is_done,
        is_running="running" in state,
        attempt_started=(state.get("running") or {}).get("startedAt"),
        failure=failure,
        revision=report.get("revision"),
        bytes_done=report.get("bytes_done"),
        bytes_total=report.get("bytes_total"),
        pod=_name(pod),
        container=container["name"],
    )


def _failed_to_fetch(pod: Manifest, container: Manifest) -> bool:
    """Whether the container's failure is one of the weights, which their own condition tells."""
    return _fetches(container) and _fetch_report(pod, container).failure is not None


def last_line(text: str) -> str:
    """The line that explains: the last one, or for Triton the last error above its closing words."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    if _TRITON_CLOSING_WORDS in lines[-1]:
        errors = [line for line in lines[:-1] if "rror" in line and _TRITON_CLOSING_WORDS not in line]
        return errors[-1] if errors else lines[-1]
    return lines[-1]


def _fetch_failure(pod: Manifest, container: Manifest, ended: Manifest, report: Manifest) -> Trouble:
    if ended.get("reason") == "OOMKilled":
        return _out_of_memory(pod, container["name"])
    message = report.get("message") or last_line(ended.get("message") or "")
    reason = reason_named(report.get("reason")) or Reason.FETCH_FAILED
    return Trouble(reason, message or f"the fetcher ended with exit code {ended.get('exitCode')}")


def _report(ended: Manifest) -> Manifest:
    """The fetcher's JSON; an empty dict when something else ended it."""
    try:
        report = json.loads(ended.get("message") or "")
    except ValueError:
        return {}
    return report if isinstance(report, dict) else {}


def _turned_away(pod: Manifest, reason: str, message: str) -> Trouble:
    is_device = reason == _NO_DEVICE and VENDOR_PREFIX in message
    told = f"pod {_name(pod)}: {reason}: {message}"
    if is_device:
        return Trouble(Reason.GPU_DRIVER_MISSING, f"{told}; {_DRIVER_HINT}?")
    return Trouble(Reason.EVICTED, told)


def _unscheduled(pod: Manifest, complaint: Complaint | None, nodes: Sequence[Manifest]) -> Trouble | None:
    """In the scheduler's words, and the autoscaler's where it says whether a node comes."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    scheduled = next((c for c in conditions if c["type"] == "PodScheduled"), None)
    if scheduled is None or scheduled["status"] != "False":
        return None
    asked = (pod.get("spec") or {}).get("nodeSelector") or {}
    labels = ", ".join(f"{key}={value}" for key, value in sorted(asked.items()))
    suffix = f" (asked for nodes with {labels})" if labels else ""
    message = scheduled.get("message", scheduled.get("reason", "")) + suffix
    silent = nodes_without_driver(pod, nodes)
    if silent:
        more = "" if len(silent) <= _NAMED_NODES else f" and {len(silent) - _NAMED_NODES} more"
        named = ", ".join(silent[:_NAMED_NODES]) + more
        told = (
            f"no accelerator to be had from {named}, by its labels the right node: {_DRIVER_HINT}? {message}"
        )
        return Trouble(Reason.GPU_DRIVER_MISSING, told)
    if complaint is None or complaint.reason not in growth.EVENTS:
        return Trouble(Reason.UNSCHEDULABLE, message)
    if complaint.reason == growth.STARTED:
        return Trouble(Reason.UNSCHEDULABLE, f"a node is being added ({complaint.message}); {message}")
    reason, hint = growth.refusal(complaint.reason, complaint.message)
    return Trouble(reason, f"no node could be added: {complaint.message}; {hint}; {message}")


def _image_pull(pod: Manifest, container: Manifest) -> Trouble | None:
    waiting = _waiting(container)
    if waiting.get("reason") not in _IMAGE_REASONS:
        return None
    return Trouble(Reason.IMAGE_PULL_FAILED, f"container {container['name']}: {waiting.get('message', '')}")


def _refused(pod: Manifest, container: Manifest) -> Trouble | None:
    waiting = _waiting(container)
    if waiting.get("reason") not in _REFUSED_REASONS:
        return None
    return Trouble(Reason.CONTAINER_REFUSED, f"container {container['name']}: {waiting.get('message', '')}")


def _killed_for_memory(pod: Manifest, container: Manifest) -> Trouble | None:
    ended = _ended(pod, container)
    if ended is None or ended.get("reason") != "OOMKilled":
        return None
    return _out_of_memory(pod, container["name"])


def _crashed(pod: Manifest, container: Manifest) -> Trouble | None:
    ended = _ended(pod, container)
    if ended is None:
        return None
    if full := _line_about_full_accelerator(ended.get("message") or ""):
        message = f"container {container['name']} found the memory of its accelerator full: {full}"
        return Trouble(Reason.OUT_OF_MEMORY, message, on_accelerator=True)
    code = ended.get("exitCode", 0)
    line = last_line(ended.get("message") or "")
    cause = f": {line}" if line else (" (killed, as a failed probe does)" if code == _KILLED else "")
    count = container.get("restartCount", 0)
    restarts = f" after {count} {'restart' if count == 1 else 'restarts'}" if count else ""
    return Trouble(
        Reason.CRASH_LOOP, f"container {container['name']} ended with exit code {code}{restarts}{cause}"
    )


def _with_probe(trouble: Trouble, complaint: Complaint | None) -> Trouble:
    """A container that a probe ended says nothing itself: what the probe saw does."""
    if trouble.reason is not Reason.CRASH_LOOP or complaint is None or complaint.reason != PROBE_FAILED:
        return trouble
    return replace(trouble, message=f"{trouble.message}; {complaint.message}")


def _line_about_full_accelerator(log: str) -> str | None:
    """The first of the last log lines that says so: what follows it are consequences."""
    lines = (line.strip() for line in log.splitlines())
    return next((line for line in lines if any(words in line for words in _ACCELERATOR_FULL)), None)


_CHECKS: tuple[Callable[[Manifest, Manifest], Trouble | None], ...] = (
    _killed_for_memory,
    _image_pull,
    _refused,
    _crashed,
)
"""The first that any container meets explains the pod: what made it end says more than that it ended."""


def _out_of_memory(pod: Manifest, name: str) -> Trouble:
    limit = _memory_limit(pod, name)
    at_limit = f" at its limit of {gib(limit)} GiB" if limit is not None else ""
    return Trouble(Reason.OUT_OF_MEMORY, f"container {name} was killed for memory{at_limit}")


def _memory_limit(pod: Manifest, name: str) -> int | None:
    spec = pod.get("spec") or {}
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        if container["name"] == name:
            limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
            return None if limit is None else parse_bytes(limit)
    return None


def _ended(pod: Manifest, container: Manifest) -> Manifest | None:
    """How a container last ended, if that matters: not when its work was done, or the pod was ready since."""
    state = container.get("state") or {}
    ended: Manifest | None = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
    if ended is None or (ended.get("exitCode") == 0 and not _should_run_on(pod, container["name"])):
        return None
    conditions = (pod.get("status") or {}).get("conditions") or ()
    turned = next((c.get("lastTransitionTime", "") for c in conditions if c["type"] == "Ready"), "")
    started = (state.get("running") or {}).get("startedAt")
    return None if started is not None and turned > started else ended


def _should_run_on(pod: Manifest, name: str) -> bool:
    """Fetching weights comes to an end, in a Job's pod as well."""
    main = (container["name"] for container in (pod.get("spec") or {}).get("containers") or ())
    return name != WEIGHTS_CONTAINER and name in main


def _waiting(container: Manifest) -> dict[str, Any]:
    waiting: dict[str, Any] = (container.get("state") or {}).get("waiting") or {}
    return waiting


def _container_statuses(pod: Manifest) -> Iterable[Manifest]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _name(pod: Manifest) -> str:
    return str(pod["metadata"]["name"])
