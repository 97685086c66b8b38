"""The workers that empty the queue, and the only place where a failure of reconcile is caught."""

import asyncio
import logging
from collections import Counter

from gemma_operator.api.manifest import ObjectKey
from gemma_operator.controller.basis import Basis
from gemma_operator.controller.endpoints import Picture
from gemma_operator.controller.failures import failure_of
from gemma_operator.controller.metrics import Metrics
from gemma_operator.controller.queue import WorkQueue
from gemma_operator.controller.reconcile import Clock, reconcile, tell
from gemma_operator.kube.cluster import Cluster
from gemma_operator.kube.errors import ClusterError
from gemma_operator.kube.trace import traced

logger = logging.getLogger(__name__)


class Worker:
    """Takes keys and reconciles them; any number of its `run` may run beside each other."""

    def __init__(
        self, queue: WorkQueue, cluster: Cluster, basis: Basis, clock: Clock, metrics: Metrics
    ) -> None:
        self._queue = queue
        self._cluster = cluster
        self._basis = basis
        self._clock = clock
        self._metrics = metrics
        self._failures: Counter[ObjectKey] = Counter()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            key, waited_seconds = await self._queue.take()
            self._metrics.queue_seconds.observe(waited_seconds)
            try:
                with traced(key):
                    await self._attempt(key)
            finally:
                self._queue.done(key)

    async def _attempt(self, key: ObjectKey) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            picture = await reconcile(key, self._cluster, self._basis, self._clock)
        except Exception as error:
            outcome = await self._answer(key, error)
        else:
            outcome = "done"
            del self._failures[key]
            if picture is None:
                self._metrics.endpoints.forget(key)
                self._basis.turns.follow(key, False)
                self._basis.prover.forget(key)
            else:
                self._metrics.endpoints.show(key, picture)
            if self._cluster.resource(key) is not None:
                self._queue.add(key, self._delay_seconds(picture))
        self._metrics.reconcile_seconds.labels(outcome).observe(loop.time() - started)

    def _delay_seconds(self, picture: Picture | None) -> float:
        resync = float(self._basis.settings.resync_seconds)
        soon = None if picture is None else picture.look_again_seconds
        return resync if soon is None else min(resync, soon)

    async def _answer(self, key: ObjectKey, error: Exception) -> str:
        """Log, tell the user where it lasts, and come back later. Returns the outcome for the metric."""
        self._failures[key] += 1
        failure = failure_of(error, self._failures[key])
        level = logging.ERROR if failure.is_defect else logging.WARNING
        logger.log(level, "%s: %s", key, failure.message, exc_info=error if failure.is_defect else None)
        if failure.is_told:
            try:
                await tell(key, failure.reason, failure.message, self._cluster, self._clock)
            except ClusterError as unsaid:
                logger.warning("%s: the status could not be written either: %s", key, unsaid)
        self._queue.add(key, failure.retry_seconds)
        return failure.reason.value
