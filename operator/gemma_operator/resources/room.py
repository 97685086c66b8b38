"""Whether the cluster has room for one more pod, as far as the operator can see.

It sees all nodes and its own pods, not those of other tenants: watching every pod of a cluster would cost
memory in proportion to what is not its own. So the answer can be too hopeful, never too gloomy; what it
overlooks the scheduler says of the surge pod (docs/design/20261125-rollout.md).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gemma_operator.api.manifest import Manifest
from gemma_operator.api.quantity import QuantityError, parse_millicores

FINISHED_PHASES = frozenset({"Succeeded", "Failed"})
_KEEPING_OFF = frozenset({"NoSchedule", "NoExecute"})

Amounts = Mapping[str, int]
"""Resource name to thousandths of its unit."""


class Space(StrEnum):
    """Whether one more pod fits."""

    FREE = "Free"
    GROWABLE = "Growable"
    FULL = "Full"


@dataclass(frozen=True, slots=True)
class Room:
    """The answer, and a sentence that can follow `because`."""

    space: Space
    sentence: str


def room_for(
    pod_spec: Manifest, nodes: Sequence[Manifest], pods: Iterable[Manifest], pool_labels: Sequence[str]
) -> Room:
    """Room for one more pod of this spec beside the operator's own pods.

    `pool_labels` mark nodes of pools that an autoscaler may enlarge.
    """
    wanted = requests_of(pod_spec)
    matching = [node for node in nodes if _admits(node, pod_spec)]
    used = _used_by_node(pods)
    for node in matching:
        if _fits(wanted, _amounts((node.get("status") or {}).get("allocatable")), used[_name(node)]):
            return Room(Space.FREE, f"node {_name(node)} has room for one more pod")
    pool = next((_pool(node, pool_labels) for node in matching if _pool(node, pool_labels)), None)
    if pool is not None:
        return Room(Space.GROWABLE, f"no node has room for one more pod, but pool {pool} may grow")
    if not matching:
        return Room(Space.FULL, "no node matches the pod")
    count = f"{len(matching)} node{'s' if len(matching) > 1 else ''}"
    return Room(Space.FULL, f"none of {count} that match has room for one more pod")


def requests_of(pod_spec: Manifest) -> Amounts:
    """What the scheduler counts: the sum over containers, or the largest init container where it is more."""
    total: Counter[str] = Counter()
    for container in pod_spec.get("containers") or ():
        total.update(_requests(container))
    for container in pod_spec.get("initContainers") or ():
        for name, amount in _requests(container).items():
            total[name] = max(total[name], amount)
    return total


def _requests(container: Manifest) -> Amounts:
    resources = container.get("resources") or {}
    # A limit without a request is a request as well.
    return _amounts({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def _used_by_node(pods: Iterable[Manifest]) -> defaultdict[str, Counter[str]]:
    used: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for pod in pods:
        spec, status = pod.get("spec") or {}, pod.get("status") or {}
        if spec.get("nodeName") and status.get("phase") not in FINISHED_PHASES:
            used[spec["nodeName"]].update(requests_of(spec))
    return used


def _fits(wanted: Amounts, allocatable: Amounts, used: Amounts) -> bool:
    return all(amount <= allocatable.get(name, 0) - used.get(name, 0) for name, amount in wanted.items())


def _amounts(quantities: Mapping[str, str] | None) -> Amounts:
    amounts = {}
    for name, quantity in (quantities or {}).items():
        try:
            amounts[name] = parse_millicores(quantity)
        except QuantityError:
            amounts[name] = 0
    return amounts


def _admits(node: Manifest, pod_spec: Manifest) -> bool:
    spec, labels = node.get("spec") or {}, node["metadata"].get("labels") or {}
    if spec.get("unschedulable"):
        return False
    selector = pod_spec.get("nodeSelector") or {}
    tolerations = pod_spec.get("tolerations") or ()
    taints = [taint for taint in spec.get("taints") or () if taint.get("effect") in _KEEPING_OFF]
    return all(labels.get(key) == value for key, value in selector.items()) and all(
        any(_tolerates(toleration, taint) for toleration in tolerations) for taint in taints
    )


def _tolerates(toleration: Manifest, taint: Manifest) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("key") in (None, ""):
        return toleration.get("operator") == "Exists"
    if toleration["key"] != taint.get("key"):
        return False
    return toleration.get("operator") == "Exists" or (toleration.get("value") or "") == (
        taint.get("value") or ""
    )


def _pool(node: Manifest, pool_labels: Sequence[str]) -> str | None:
    labels = node["metadata"].get("labels") or {}
    return next((labels[label] for label in pool_labels if label in labels), None)


def _name(node: Manifest) -> str:
    return str(node["metadata"]["name"])
