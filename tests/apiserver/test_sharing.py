"""Weights that several GemmaDeployments share, on the real API server and its garbage collector."""

from typing import Any

import pytest

from apiserver.operator_process import CHANGE_SECONDS, OperatorProcess
from cluster.audit import Audit
from cluster.endpoint import Endpoint
from gemma_devcluster.kubectl import Kubectl
from gemma_devcluster.waiting import await_value
from gemma_operator.api.manifest import MANAGER

GONE = "--timeout=60s"


def cached(revision: str = "main", **cache: Any) -> dict[str, Any]:
    hub = {"repository": "team/gemma-3-270m", "revision": revision}
    model = {"variant": "gemma-3-270m", "contextLength": 1024, "source": {"huggingFace": hub}}
    return {"model": model, "cache": {"accessMode": "ReadWriteMany", **cache}}


@pytest.fixture
def other(kubectl: Kubectl, namespace: str) -> Endpoint:
    return Endpoint(kubectl, namespace, "other")


def weights(endpoint: Endpoint, kind: str) -> list[dict[str, Any]]:
    """Claims or Jobs that are there to stay."""
    selector = f"app.kubernetes.io/managed-by={MANAGER}"
    found: list[dict[str, Any]] = endpoint.cluster.get(kind, "-n", endpoint.namespace, "-l", selector)[
        "items"
    ]
    return [item for item in found if "deletionTimestamp" not in item["metadata"]]


def users(item: dict[str, Any]) -> set[str]:
    return {reference["name"] for reference in item["metadata"].get("ownerReferences", [])}


def shared(endpoint: Endpoint, *names: str) -> str:
    """Wait until one claim and one Job have exactly these users; the claim's name."""

    def found() -> str | None:
        kinds = [weights(endpoint, kind) for kind in ("pvc", "job")]
        if all([users(item) for item in items] == [set(names)] for items in kinds):
            return str(kinds[0][0]["metadata"]["name"])
        return None

    return await_value(found, CHANGE_SECONDS, f"one claim and one Job of {names}")


def fetch(endpoint: Endpoint, claim: str) -> None:
    """What the kubelet would say of the fetching pod: it has succeeded. The Job controller does the rest."""
    (job,) = [job for job in weights(endpoint, "job") if claim in str(job["spec"])]
    name = job["metadata"]["name"]

    def pods() -> list[dict[str, Any]]:
        found = endpoint.cluster.get(
            "pods", "-n", endpoint.namespace, "-l", f"batch.kubernetes.io/job-name={name}"
        )
        return list(found["items"])

    (pod,) = await_value(lambda: pods() or None, CHANGE_SECONDS, f"a pod of Job {name}")
    status = '{"status": {"phase": "Succeeded"}}'
    endpoint.kubectl(
        "patch", "pod", pod["metadata"]["name"], "--subresource=status", "--type=merge", "-p", status
    )
    endpoint.kubectl("wait", f"job/{name}", "--for=condition=Complete", "--timeout=60s")


def test_two_with_equal_sources_share_one_claim_and_one_job_until_the_last_is_gone(
    operator: OperatorProcess, endpoint: Endpoint, other: Endpoint, audit: Audit
) -> None:
    for each in (endpoint, other):
        each.apply(cached())
    claim = shared(endpoint, "assistant", "other")
    for each in (endpoint, other):
        each.wait_reason("Ready", "WeightsPending")
    before, again = operator.reconciles(), Audit.from_now(audit.log, audit.user)
    for each in (endpoint, other):
        each.kubectl("annotate", "gemmadeployment", each.name, "example.com/touched=1")
    operator.wait_reconciles(before + 2)
    assert again.writes() == {}
    assert again.gets() == {}

    endpoint.kubectl("delete", "gemmadeployment", "assistant", GONE)
    assert shared(endpoint, "other") == claim
    operator.stop()
    other.kubectl("delete", "gemmadeployment", "other", GONE)
    endpoint.kubectl("wait", f"pvc/{claim}", "--for=delete", GONE)
    await_value(lambda: not weights(endpoint, "job") or None, CHANGE_SECONDS, "the Job to go")


def test_a_user_that_comes_when_the_weights_are_there_serves_from_them(
    operator: OperatorProcess, endpoint: Endpoint, other: Endpoint
) -> None:
    endpoint.apply(cached())
    claim = shared(endpoint, "assistant")
    fetch(endpoint, claim)
    endpoint.wait("WeightsReady")
    other.apply(cached())
    other.wait("WeightsReady")
    assert shared(endpoint, "assistant", "other") == claim
    for each in (endpoint, other):
        volumes = each.cluster.get("deployment", each.name, "-n", each.namespace)["spec"]["template"]["spec"][
            "volumes"
        ]
        assert claim in [v.get("persistentVolumeClaim", {}).get("claimName") for v in volumes]


def test_a_changed_source_gives_the_old_claim_up_and_the_last_one_takes_it_away(
    operator: OperatorProcess, endpoint: Endpoint, other: Endpoint
) -> None:
    for each in (endpoint, other):
        each.apply(cached())
    old = shared(endpoint, "assistant", "other")
    fetch(endpoint, old)
    for each in (endpoint, other):
        each.wait("WeightsReady")
    endpoint.apply(cached("v2"))

    def holders() -> dict[str, set[str]]:
        return {claim["metadata"]["name"]: users(claim) for claim in weights(endpoint, "pvc")}

    claims = await_value(
        lambda: holders() if len(holders()) == 2 else None, CHANGE_SECONDS, "a claim of the new source"
    )
    (new,) = claims.keys() - {old}
    assert claims == {old: {"assistant", "other"}, new: {"assistant"}}, "until the new weights are there"
    fetch(endpoint, new)
    # Pods of the old template mount the old claim; that they are without a node makes no difference.
    apart = {old: {"other"}, new: {"assistant"}}
    await_value(lambda: holders() == apart or None, CHANGE_SECONDS, f"{apart}, not {holders()}")
    assert len(weights(endpoint, "job")) == 2
    other.apply({"model": cached()["model"]})
    endpoint.kubectl("wait", f"pvc/{old}", "--for=delete", GONE)
    assert holders() == {new: {"assistant"}}


def test_a_retained_claim_stays_and_serves_the_next(
    operator: OperatorProcess, endpoint: Endpoint, other: Endpoint
) -> None:
    endpoint.apply(cached(retention="Retain"))
    (claim,) = await_value(lambda: weights(endpoint, "pvc") or None, CHANGE_SECONDS, "the claim")
    assert users(claim) == set()
    endpoint.wait_reason("Ready", "WeightsPending")
    for spec, holders in ((cached(), {"assistant"}), (cached(retention="Retain"), set())):
        endpoint.apply(spec)
        await_value(
            lambda holders=holders: users(weights(endpoint, "pvc")[0]) == holders or None,
            CHANGE_SECONDS,
            f"{holders or 'nobody'} to hold the claim",
        )
    endpoint.kubectl("delete", "gemmadeployment", "assistant", GONE)
    await_value(lambda: not weights(endpoint, "job") or None, CHANGE_SECONDS, "the Job to go")
    other.apply(cached())
    await_value(lambda: weights(endpoint, "job") or None, CHANGE_SECONDS, "a Job of the next")
    (kept,) = weights(endpoint, "pvc")
    assert kept["metadata"]["uid"] == claim["metadata"]["uid"]
    assert users(kept) == set()


def test_a_foreign_claim_of_the_same_name_is_never_joined(
    operator: OperatorProcess, endpoint: Endpoint, other: Endpoint
) -> None:
    other.apply(cached())
    name = shared(other, "other")
    other.kubectl("delete", "gemmadeployment", "other", GONE)
    other.kubectl("wait", f"pvc/{name}", "--for=delete", GONE)
    size = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    metadata = {"name": name, "namespace": endpoint.namespace}
    endpoint.cluster.apply(
        [{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": size}]
    )
    endpoint.apply(cached())
    endpoint.wait_reason("Ready", "NameTaken")
    assert f"PersistentVolumeClaim {endpoint.namespace}/{name}" in endpoint.condition("Ready")["message"]
    assert "ownerReferences" not in endpoint.cluster.get("pvc", name, "-n", endpoint.namespace)["metadata"]
