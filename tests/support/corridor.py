"""One GemmaDeployment, the API double, and the real reconcile between them."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from gemma_operator.api.base import API_VERSION, KIND
from gemma_operator.api.manifest import Manifest, ObjectKey, object_key
from gemma_operator.catalog import load_catalog
from gemma_operator.controller.basis import Basis
from gemma_operator.controller.reconcile import reconcile
from gemma_operator.kube.cluster import KubernetesCluster
from gemma_operator.kube.index import Index
from gemma_operator.kube.kinds import CHILD_KINDS, GEMMA_DEPLOYMENT
from gemma_operator.settings import OperatorSettings
from support.api_double import ApiDouble

KEY = ObjectKey(API_VERSION, KIND, "team-a", "assistant")
SPEC: Manifest = {"model": {"variant": "gemma-3-270m"}, "hardware": {"accelerator": "cpu"}}
NODE: Manifest = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "node-1", "uid": "uid-node-1", "resourceVersion": "1"},
    "status": {
        "allocatable": {"cpu": "16", "memory": "64Gi", "ephemeral-storage": "90Gi"},
        "nodeInfo": {"architecture": "amd64"},
    },
}
CATALOG = load_catalog()


def seconds() -> Callable[[], str]:
    """A clock that moves by a second with each look."""
    count = 0

    def clock() -> str:
        nonlocal count
        count += 1
        return f"2026-11-25T00:{count // 60:02}:{count % 60:02}Z"

    return clock


class Corridor:
    """Runs reconcile as the worker would."""

    def __init__(self, api: ApiDouble | None = None) -> None:
        self.api = api or ApiDouble()
        self.clock = seconds()
        self.basis = Basis(OperatorSettings(), CATALOG)
        self.restart()

    def restart(self) -> None:
        """A new process: what was known is forgotten, and listed anew."""
        self.index = Index()
        self.cluster = KubernetesCluster(self.api, self.index)  # type: ignore[arg-type]
        self.index.put(deepcopy(NODE))
        self.relist()

    def relist(self) -> None:
        """What the watches would bring."""
        for kind in (GEMMA_DEPLOYMENT, *CHILD_KINDS):
            for key in self.index.keys(kind.name):
                if key not in self.api.objects:
                    self.index.discard(key, self.api.version)
        for key, manifest in self.api.objects.items():
            if key.kind != "Event":
                self.index.put(deepcopy(manifest))

    def user_applies(self, spec: Manifest, key: ObjectKey = KEY, **metadata: Any) -> None:
        """Create or edit a GemmaDeployment."""
        known = self.api.objects.get(key, {"metadata": {}})
        self.api.put(
            {
                **known,
                "apiVersion": API_VERSION,
                "kind": KIND,
                "metadata": {"name": key.name, "namespace": key.namespace, **known["metadata"], **metadata},
                "spec": spec,
            }
        )
        self.relist()

    def user_deletes(self, key: ObjectKey = KEY) -> None:
        """Delete a GemmaDeployment; the garbage collector does the rest."""
        self.api.remove(key)
        self.relist()

    async def reconcile(self, key: ObjectKey = KEY) -> None:
        await reconcile(key, self.cluster, self.basis, self.clock)

    async def settle(self, *keys: ObjectKey) -> None:
        """Until nothing is written any more. The double has no controllers, so a few rounds must do."""
        for _ in range(5):
            before = len(self.api.writes)
            for key in keys or (KEY,):
                self.relist()
                await self.reconcile(key)
            if len(self.api.writes) == before:
                return
        raise AssertionError("reconcile does not come to rest")

    def children(self) -> dict[str, Manifest]:
        """What exists beside the GemmaDeployment and Events, by `Kind/name`."""
        return {
            f"{key.kind}/{key.name}": found
            for key, found in self.api.objects.items()
            if key.kind not in (KIND, "Event")
        }

    def jobs_succeed(self) -> None:
        """What the Job controller and the kubelet would do."""
        for key, job in self.api.objects.items():
            if key.kind == "Job":
                job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
                self.api._stamp(job)
        self.relist()

    def condition(self, kind: str, key: ObjectKey = KEY) -> Manifest:
        conditions = self.api.objects[key]["status"]["conditions"]
        return next(condition for condition in conditions if condition["type"] == kind)

    def foreign(self, manifest: Manifest) -> ObjectKey:
        """Somebody else's object."""
        self.api.put(manifest)
        return object_key(manifest)
