"""Specs and worlds for the planner's tests, built from plain data as a user would write it."""

from typing import Any

from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.catalog import Catalog, load_catalog
from gemma_operator.planning.inventory import Inventory, inventory_from_nodes
from gemma_operator.planning.plan import Plan, Refusal
from gemma_operator.planning.planner import make_plan
from gemma_operator.settings import PlanningSettings

CATALOG = load_catalog()
OFFLINE = PlanningSettings(require_token=False)
"""As the command line plans: nobody can give a token there."""


def spec(variant: str, **groups: dict[str, Any]) -> GemmaDeploymentSpec:
    """A spec; `model` fields come on top of the variant."""
    model = {"variant": variant, **groups.pop("model", {})}
    return GemmaDeploymentSpec.model_validate({"model": model, **groups}, extra="forbid")


def answer(
    wanted: GemmaDeploymentSpec,
    *,
    catalog: Catalog = CATALOG,
    settings: PlanningSettings = OFFLINE,
    inventory: Inventory | None = None,
) -> Plan | Refusal:
    """What the planner says."""
    return make_plan(wanted, catalog, settings, inventory or Inventory())


def planned(wanted: GemmaDeploymentSpec, **world: Any) -> Plan:
    """The plan; fails the test with the refusal's message."""
    result = answer(wanted, **world)
    assert isinstance(result, Plan), result.message
    return result


def refused(wanted: GemmaDeploymentSpec, **world: Any) -> Refusal:
    """The refusal; fails the test with the plan's summary."""
    result = answer(wanted, **world)
    assert isinstance(result, Refusal), (result.engine, result.accelerator, result.count, result.precision)
    return result


def node(*, labels: dict[str, str] | None = None, **allocatable: str) -> dict[str, Any]:
    """A Node manifest; `gpu="4"` stands for nvidia.com/gpu."""
    resources = {"cpu": "8", "memory": "32Gi", **allocatable}
    if "gpu" in resources:
        resources["nvidia.com/gpu"] = resources.pop("gpu")
    return {
        "metadata": {"labels": {"kubernetes.io/arch": "amd64", **(labels or {})}},
        "status": {"allocatable": resources},
    }


def cluster(*nodes: dict[str, Any]) -> Inventory:
    """Inventory of these nodes."""
    return inventory_from_nodes(nodes, CATALOG)
