"""What the status says of LoRA adapters."""

from dataclasses import replace
from typing import Any

import pytest

from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import AdapterStateName
from gemma_operator.planning.plan import AdapterPlan, Refusal
from gemma_operator.status.adapters import (
    AdapterFinding,
    PodAdapters,
    adapters_status,
    read_adapters,
    unreachable,
)
from gemma_operator.status.conditions import next_status
from gemma_operator.status.observed import observe
from support.children import LATER, NOW, serving
from support.plans import GPU_PLAN, HUB_WEIGHTS, OWNER, spec_of

LOADED = AdapterFinding(AdapterStateName.LOADED)
LOADING = AdapterFinding(AdapterStateName.LOADING)
FAILED = AdapterFinding(AdapterStateName.FAILED, "it has rank 64")
UNKNOWN = unreachable(["maths"], "cannot connect")["maths"]
WANTED = {"maths": "/weights/maths"}


def told(*findings: AdapterFinding) -> dict[str, Any]:
    pods = [PodAdapters(f"pod-{number}", {"maths": finding}) for number, finding in enumerate(findings)]
    for order in (pods, pods[::-1]):
        (status,) = adapters_status(["maths"], order)
        assert status == adapters_status(["maths"], pods)[0]
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


@pytest.mark.parametrize(
    ("findings", "state", "loaded", "message"),
    [
        ((LOADED, LOADED), "Loaded", "2/2", None),
        ((LOADED, LOADING), "Loading", "1/2", None),
        ((LOADED, LOADING, FAILED), "Failed", "1/3", "pod pod-2: it has rank 64"),
        ((LOADED, UNKNOWN), "Unknown", "1/2", "pod pod-1: the operator cannot ask the pod: cannot connect"),
        ((UNKNOWN, FAILED), "Failed", "0/2", "pod pod-1: it has rank 64"),
        ((), "Loading", "0/0", None),
    ],
)
def test_the_worst_pod_speaks(
    findings: tuple[AdapterFinding, ...], state: str, loaded: str, message: str | None
) -> None:
    expected = {"name": "maths", "state": state, "loaded": loaded, "message": message}
    assert told(*findings) == {name: value for name, value in expected.items() if value is not None}


def document(**adapter: Any) -> dict[str, Any]:
    return {"adapters": [{"name": "maths", "path": "/weights/maths", "state": "Loaded", **adapter}]}


@pytest.mark.parametrize(
    ("said", "finding"),
    [
        (document(), LOADED),
        (document(state="Failed", message="it has rank 64"), FAILED),
        (document(path="/weights/old"), LOADING),
        (document(name="other"), LOADING),
    ],
)
def test_a_gateways_word_is_held_against_what_it_is_to_have(
    said: dict[str, Any], finding: AdapterFinding
) -> None:
    assert read_adapters(WANTED, said) == {"maths": finding}


@pytest.mark.parametrize("said", [{}, [], None, {"adapters": [{"name": "maths"}]}, document(state="Odd")])
def test_what_is_no_such_document_is_told_from_one(said: Any) -> None:
    with pytest.raises((LookupError, TypeError, ValueError)):
        read_adapters(WANTED, said)


def test_the_status_tells_of_adapters_once_and_keeps_it_beside_a_refused_edit() -> None:
    adapter = AdapterPlan("maths", HUB_WEIGHTS, rank=8)
    plan = replace(GPU_PLAN, adapters=(adapter,))
    pods = (PodAdapters("pod-0", {"maths": LOADED}),)
    observed = replace(observe(OWNER, [serving(1)]), adapters=pods)
    first = next_status(spec_of(), 1, plan, observed, {}, NOW)
    assert first["adapters"] == [{"name": "maths", "state": "Loaded", "loaded": "1/1"}]
    assert next_status(spec_of(), 1, plan, observed, first, LATER) == first
    refusal = Refusal(Reason.DOES_NOT_FIT, "needs 61.2 GiB, has 20.2 GiB")
    refused = next_status(spec_of(), 2, refusal, replace(observed, adapters=()), first, LATER)
    assert refused["adapters"] == first["adapters"]
    assert "adapters" not in next_status(spec_of(), 3, GPU_PLAN, observed, first, LATER)
