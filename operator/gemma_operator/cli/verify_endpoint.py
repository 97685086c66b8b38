"""`gemma-operator verify-gpu NAME`: every replica of an endpoint in the cluster against the plan in force."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gemma_operator.api.manifest import SERVING, Manifest, owner_of, selector_labels
from gemma_operator.api.read import SpecError, read_spec
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.cli.documents import InputError
from gemma_operator.cli.endpoint_checks import (
    STREAM_TOKENS,
    ServingPod,
    check,
    checked,
    drained,
    kv_tokens,
    streamed,
)
from gemma_operator.cli.verdicts import Row, cache_row, seconds_row
from gemma_operator.kube.apiserver import ApiServer, Request
from gemma_operator.kube.errors import NotFoundError
from gemma_operator.kube.kinds import GEMMA_DEPLOYMENT, NODE, POD
from gemma_operator.kube.look import listed
from gemma_operator.kube.pods import PodPort
from gemma_operator.planning.inventory import inventory_from_nodes
from gemma_operator.planning.plan import CPU, Outlook, Plan, Refusal
from gemma_operator.planning.planner import make_plan
from gemma_operator.resources.layout import ADMIN_PORT, API_PORT
from gemma_operator.settings import PlanningSettings

KEY_HEADER = "x-api-key"
"""The API server keeps `Authorization` for itself; the gateway takes this one as well."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which endpoint, and how far to go."""

    name: str
    namespace: str
    key: str | None
    """API key, where the endpoint asks for one."""
    drain: bool
    """Also delete one pod under a stream."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found."""

    plan: Plan
    pods: tuple[str, ...]
    rows: tuple[Row, ...]


async def verify_endpoint(api: ApiServer, wanted: Wanted, catalog: Catalog) -> Verified:
    """Ask every ready replica. Raises InputError where there is none, ClusterError where nobody answers."""
    try:
        resource = await api.send(Request("GET", GEMMA_DEPLOYMENT.path(wanted.namespace, wanted.name)))
    except NotFoundError as error:
        raise InputError(
            f"there is no GemmaDeployment {wanted.name} in namespace {wanted.namespace}; name another "
            "--namespace, or give a FILE and --weights to verify on this machine"
        ) from error
    plan = plan_in_force(resource, await listed(api, NODE.path(None)), catalog)
    names = await _ready_pods(api, resource)
    pods = [_serving_pod(api, wanted, name) for name in names]
    adapters = [adapter.name for adapter in plan.adapters]
    rows = [_decision_row(plan, resource["status"]["plan"]), *startup_rows(resource["status"])]
    for pod in pods:
        found = await checked(pod, adapters)
        if plan.outlook is not None:
            found += await _figures(pod, plan.outlook, plan.max_concurrent_requests)
        rows += [Row(_named(row.name, pod, pods), row.planned, row.measured, row.is_met) for row in found]
    if wanted.drain:
        path = POD.path(wanted.namespace, pods[0].name)
        rows.append(await drained(pods[0], lambda: api.send(Request("DELETE", path))))
    return Verified(plan, tuple(names), tuple(rows))


def plan_in_force(resource: Manifest, nodes: Sequence[Manifest], catalog: Catalog) -> Plan:
    """The plan worked out again from what the status says was chosen. Raises InputError."""
    name, told = resource["metadata"]["name"], (resource.get("status") or {}).get("plan")
    if told is None:
        raise InputError(f"{name} has no plan: see `gemma-operator status`")
    tag = str(told["image"]).partition("@")[0].rpartition(":")[2]
    settings = PlanningSettings(require_token=False, gpu_image_tags={told["engine"]: tag})
    try:
        spec = read_spec({**resource, "spec": _as_chosen(resource["spec"], told)}, strict=False)
    except SpecError as error:
        raise InputError(f"{name}: {error}") from error
    plan = make_plan(spec, catalog, settings, inventory_from_nodes(nodes, catalog))
    if isinstance(plan, Refusal):
        raise InputError(f"this version refuses what {name} runs: {plan.reason.value}: {plan.message}")
    return plan


def _as_chosen(spec: Manifest, told: Manifest) -> Manifest:
    """The spec with every choice made as the status tells, so that planning has none left."""
    hardware = {name: value for name, value in spec.get("hardware", {}).items() if name != "candidates"}
    hardware["accelerator"] = told["accelerator"]
    if told["accelerator"] != CPU:
        hardware["count"] = told["count"]
    return {
        **spec,
        "model": {**spec["model"], "precision": told["precision"]},
        "engine": {**spec.get("engine", {}), "name": told["engine"]},
        "hardware": hardware,
    }


def _decision_row(plan: Plan, told: Mapping[str, object]) -> Row:
    """Whether this version of the planner decides as the operator did; figures below assume so."""
    mine = f"{plan.max_concurrent_requests} requests of {plan.context_length} tokens, {plan.engine_version}"
    theirs = (
        f"{told['maxConcurrentRequests']} requests of {told['contextLength']} tokens, {told['engineVersion']}"
    )
    return Row("plan", mine, theirs, mine == theirs)


def startup_rows(status: Mapping[str, object]) -> list[Row]:
    """Phases of the start that were both predicted and observed."""
    phases: list[Manifest] = status.get("startup") or []  # type: ignore[assignment]
    return [
        seconds_row(f"start, {phase['phase']}, seconds", phase["predictedSeconds"], phase["seconds"])
        for phase in phases
        if phase.get("predictedSeconds") is not None and phase.get("seconds") is not None
    ]


async def _ready_pods(api: ApiServer, resource: Manifest) -> list[str]:
    owner = owner_of(resource)
    selector = ",".join(f"{key}={value}" for key, value in selector_labels(owner, SERVING).items())
    pods = await listed(api, POD.path(owner.namespace), {"labelSelector": selector})
    names = sorted(pod["metadata"]["name"] for pod in pods if _is_ready(pod))
    if not names:
        raise InputError(f"{owner.name} has no ready pod: see `gemma-operator status`")
    return names


def _is_ready(pod: Manifest) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def _serving_pod(api: ApiServer, wanted: Wanted, pod: str) -> ServingPod:
    headers = {} if wanted.key is None else {KEY_HEADER: wanted.key}
    door = PodPort(api, wanted.namespace, pod, API_PORT, headers)
    return ServingPod(pod, wanted.name, door, PodPort(api, wanted.namespace, pod, ADMIN_PORT, {}))


async def _figures(pod: ServingPod, outlook: Outlook, slots: int) -> list[Row]:
    """Cache and speed; where one cannot be had, its row says why."""
    rows: list[Row] = []

    async def cache() -> str:
        rows.append(cache_row(outlook, await kv_tokens(pod)))
        return ""

    async def speed() -> str:
        measured = (await streamed(pod, STREAM_TOKENS)).tokens_per_second
        least = outlook.speed.per_request.low
        planned = f"{least:.1f} or more of {slots} at once"
        rows.append(Row("tokens per second", planned, f"{measured:.1f} alone", measured >= least))
        return ""

    tried = [await check("KV cache, tokens", cache), await check("tokens per second", speed)]
    return [*rows, *(row for row in tried if not row.is_met)]


def _named(name: str, pod: ServingPod, pods: Sequence[ServingPod]) -> str:
    return name if len(pods) == 1 else f"{pod.name}: {name}"
