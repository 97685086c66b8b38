"""The whole operator: watches, workers, ports and kopf, put together and run until it is told to stop."""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import kopf

from gemma_operator.catalog import Catalog
from gemma_operator.controller.basis import Basis
from gemma_operator.controller.handlers import registry_for, settings_for
from gemma_operator.controller.health import Health, Ports, served
from gemma_operator.controller.metrics import Metrics
from gemma_operator.controller.queue import WorkQueue
from gemma_operator.controller.schema import check_schema, follow_schema
from gemma_operator.controller.trigger import Trigger
from gemma_operator.controller.worker import Worker
from gemma_operator.kube.apiserver import ApiServer
from gemma_operator.kube.cluster import KubernetesCluster, follow, informers
from gemma_operator.kube.index import Index
from gemma_operator.kube.lease import Lease, LeaseLostError, LeaseName
from gemma_operator.kube.look import missing_fields
from gemma_operator.settings import OperatorSettings

logger = logging.getLogger(__name__)


def now() -> str:
    """RFC 3339, UTC, in seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says of this process."""

    ports: Ports
    lease: LeaseName | None
    """Work only while holding it; None: this is the only process."""


async def run(settings: OperatorSettings, catalog: Catalog, options: Options) -> None:
    """Run the operator until SIGTERM or SIGINT.

    Raises ClusterError when there is no cluster to reach, or the lease was lost: a new process starts clean.
    """
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        api = await ApiServer.connect(metrics.observe_request)
        stack.push_async_callback(api.close)
        index, queue = Index(), WorkQueue()
        cluster = KubernetesCluster(api, index)
        trigger = Trigger(index, queue)
        watches = informers(api, index, settings.watch_namespaces, trigger.changed)
        health = Health(watches)
        metrics.follow_queue(lambda: len(queue), queue.oldest_seconds)
        metrics.follow_watches(health.ages)
        used = await stack.enter_async_context(served(health, metrics.page, options.ports))
        logger.info("probes on port %d, metrics on port %d", used.health, used.metrics)
        await cluster.await_definition()
        basis = Basis(settings, catalog)

        def missing() -> Awaitable[tuple[str, ...]]:
            return missing_fields(api)

        is_complete = await check_schema(missing, basis)
        worker = Worker(queue, cluster, basis, now, metrics)
        try:
            async with asyncio.TaskGroup() as group:
                synced = asyncio.Event()
                background = [group.create_task(follow(watches, synced.set), name="watches")]
                await synced.wait()
                logger.info("%d objects known, %d watches", len(index), len(watches))
                if options.lease is not None:
                    lease = Lease(api, options.lease, f"{socket.gethostname()}_{os.getpid()}", now)
                    await lease.acquire()
                    api.may_write = lease.is_held
                    stack.push_async_callback(lease.release)
                    background.append(group.create_task(lease.keep(), name="lease"))
                if not is_complete:
                    background.append(group.create_task(follow_schema(missing, basis, trigger.all_changed)))
                background += [
                    group.create_task(worker.run(), name=f"worker {number}")
                    for number in range(settings.max_concurrent_reconciles)
                ]
                await follow_resources(trigger, api, settings)
                for task in background:
                    task.cancel()
        except* LeaseLostError as lost:
            raise lost.exceptions[0] from None


async def follow_resources(trigger: Trigger, api: ApiServer, settings: OperatorSettings) -> None:
    """Follow the GemmaDeployments until SIGTERM or SIGINT: kopf's part."""
    await kopf.operator(
        registry=registry_for(trigger.seen, api.credentials),
        settings=settings_for(),
        standalone=True,
        # kopf would ask for the user's name, and uid 1000 has none in the image.
        # The type is a private NewType of str.
        identity=cast(Any, socket.gethostname()),
        clusterwide=not settings.watch_namespaces,
        namespaces=settings.watch_namespaces,
    )
