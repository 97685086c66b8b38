"""From what changed to which GemmaDeployment has to be looked at."""

from gemma_operator.api.base import KIND
from gemma_operator.api.manifest import Manifest, ObjectKey, object_key
from gemma_operator.controller.queue import WorkQueue
from gemma_operator.kube.index import Index
from gemma_operator.kube.kinds import NODE, Kind

SETTLE_SECONDS = 0.2
"""Children change in bursts (Deployment, ReplicaSet, pod, its conditions): one look answers a burst."""
INVENTORY_SECONDS = 2.0
"""Nodes of an autoscaled pool come together."""


class Trigger:
    """Keeps the index current and the queue filled."""

    def __init__(self, index: Index, queue: WorkQueue) -> None:
        self._index = index
        self._queue = queue

    def seen(self, resource: Manifest, is_deleted: bool) -> None:
        """A GemmaDeployment was listed, added, changed or deleted."""
        key = object_key(resource)
        if is_deleted:
            self._index.discard(key, int(resource["metadata"]["resourceVersion"]))
            # Its series end with this look; one that was refused has no children whose end would cause it.
            self._queue.add(key)
        elif self._index.put(resource):
            self._queue.add(key, urgent=is_edited(resource))

    def changed(self, kind: Kind, owner: ObjectKey | None) -> None:
        """An object that belongs to a GemmaDeployment changed, or a node did, or an optional API."""
        if kind is NODE or (kind.optional and owner is None):
            self.all_changed()
        elif owner is not None:
            self._queue.add(owner, SETTLE_SECONDS)

    def all_changed(self) -> None:
        """Something that all depend on changed."""
        for key in self._index.keys(KIND):
            self._queue.add(key, INVENTORY_SECONDS)


def is_edited(resource: Manifest) -> bool:
    """Whether somebody waits for an edit to take effect; new ones, which come by the thousand, queue up."""
    status = resource.get("status") or {}
    return bool(status) and status.get("observedGeneration") != resource["metadata"]["generation"]
