"""What decisions rest on beside the spec: settings, catalogue, and the nodes that there are."""

from gemma_operator.api.manifest import Manifest
from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.catalog import Catalog
from gemma_operator.controller.adapters import AdapterLooks
from gemma_operator.controller.progress import Fetches
from gemma_operator.controller.scaling import Prover
from gemma_operator.controller.turns import Turns
from gemma_operator.planning.inventory import Inventory, inventory_from_nodes
from gemma_operator.planning.plan import Plan, Refusal
from gemma_operator.planning.planner import make_plan
from gemma_operator.settings import OperatorSettings


class Basis:
    """The same for the life of the process; remembers what it made of the nodes until they change."""

    def __init__(self, settings: OperatorSettings, catalog: Catalog) -> None:
        self.settings = settings
        self._catalog = catalog
        self._planning = settings.planning()
        self._nodes: tuple[Manifest, ...] = ()
        self._inventory = Inventory()
        self.turns = Turns(settings.rollout.max_automatic_rollouts)
        self.prover = Prover()
        self.fetches = Fetches()
        self.adapters = AdapterLooks()
        self.unserved: tuple[str, ...] = ()
        """Fields that protect endpoints and that the installed CRD drops."""

    def plan(self, spec: GemmaDeploymentSpec, nodes: tuple[Manifest, ...]) -> Plan | Refusal:
        """The plan for a spec on these nodes, or why there is none."""
        if self.unserved:
            return Refusal(Reason.CRD_OUTDATED, _outdated(self.unserved))
        if nodes is not self._nodes:
            self._nodes, self._inventory = nodes, inventory_from_nodes(nodes, self._catalog)
        return make_plan(spec, self._catalog, self._planning, self._inventory)


def _outdated(fields: tuple[str, ...]) -> str:
    return (
        f"the installed CustomResourceDefinition drops {', '.join(fields)}, so that a limit that was written"
        " may not be there: apply the CRD of this operator version. Pods stay as they are until then"
    )
