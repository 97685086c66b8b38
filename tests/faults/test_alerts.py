"""A real Prometheus beside an operator whose API server fails it: the alerts that are due, and no others."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.fleet import SMALL, Fleet
from gemma_devcluster import builder
from gemma_devcluster.cluster import Cluster
from gemma_devcluster.toolsets import PROMETHEUS
from gemma_devcluster.waiting import await_value
from gemma_monitoring.rules.operator import STALE_WATCH_SECONDS
from support.prometheus_server import PrometheusServer, hastened, operator_at, running

pytestmark = pytest.mark.cluster

RULES = Path(__file__).parents[2] / "charts/gemma-operator/rules/gemma.rules.yaml"
NAMESPACE = "alerts"
ALERT_SECONDS = 6
STALE_SECONDS = 12
WATCH_SECONDS = 3
"""A healthy watch speaks once a minute and is stale after five: both are cut to the same share, about."""
AGE = "(gemma_operator_watch_age_seconds{}) > {}"
PODS = '{resource="pods"}'
"""An optional API that is absent is looked for every 30 s, which would be stale here."""
CHANGE_SECONDS = 90.0


SCALED = {**SMALL, "scaling": {"maxReplicas": 2, "backend": "KEDA"}}
"""No KEDA is there."""


def firing(prometheus: PrometheusServer) -> set[str]:
    """Asked in a thread: the client brings an event loop of its own."""
    found = prometheus.api.instant('ALERTS{alertstate="firing", alertname=~"GemmaOperator.*"}')
    return {dict(labels)["alertname"] for labels in found}


def scaling_alerts(prometheus: PrometheusServer) -> list[tuple[str, ...]]:
    """Name, endpoint and reason of each."""
    found = prometheus.api.instant('ALERTS{alertstate="firing", alertname=~"GemmaScaling.*"}')
    return [tuple(dict(labels)[name] for name in ("alertname", "model", "reason")) for labels in found]


async def until(holds: Callable[[], bool], what: str) -> None:
    """Beside the proxy, which needs the event loop meanwhile."""
    await asyncio.to_thread(await_value, lambda: holds() or None, CHANGE_SECONDS, what)


async def test_failing_writes_and_a_silent_watch_fire_their_alerts_and_no_others(
    control_plane: Cluster, tmp_path: Path
) -> None:
    control_plane.kubectl.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}])
    binary = builder.ensure((PROMETHEUS,)).path("prometheus")
    rules = hastened(
        RULES, ALERT_SECONDS, {AGE.format("", STALE_WATCH_SECONDS): AGE.format(PODS, STALE_SECONDS)}
    )
    try:
        async with Fleet(control_plane, NAMESPACE, tmp_path) as fleet:
            fleet.proxy.watch_seconds = WATCH_SECONDS
            address = await asyncio.to_thread(metrics_address, fleet)
            with running(binary, tmp_path, [operator_at(address)], rules) as prometheus:
                await fleet.apply("plan-001", SMALL)
                spans = 'count_over_time(gemma_operator_watch_age_seconds{resource="pods"}[5m])'
                healthy = ALERT_SECONDS + STALE_SECONDS
                await until(
                    lambda: max(prometheus.api.instant(spans).values(), default=0) * 2 > healthy, "a while"
                )
                assert await asyncio.to_thread(firing, prometheus) == set()

                await fleet.apply("plan-003", SCALED)
                await until(lambda: bool(scaling_alerts(prometheus)), "an alert about scaling")
                found = await asyncio.to_thread(scaling_alerts, prometheus)
                assert found == [("GemmaScalingInactive", "plan-003", "AdapterMissing")]

                fleet.proxy.is_broken = True
                await fleet.apply("plan-002", SMALL)
                await until(lambda: bool(firing(prometheus)), "an alert about failing writes")
                assert await asyncio.to_thread(firing, prometheus) == {"GemmaOperatorReconcileErrors"}

                fleet.proxy.is_broken, fleet.proxy.is_silent = False, True
                await until(
                    lambda: "GemmaOperatorWatchStale" in firing(prometheus), "an alert about a silent watch"
                )
                assert await asyncio.to_thread(firing, prometheus) <= {
                    "GemmaOperatorReconcileErrors",
                    "GemmaOperatorWatchStale",
                }
    finally:
        control_plane.kubectl.run("delete", "namespace", NAMESPACE, "--wait=false")


def metrics_address(fleet: Fleet) -> str:
    """Where the operator says that its metrics are."""
    found = await_value(
        lambda: re.search(r"metrics on port (\d+)", fleet.operator.log), CHANGE_SECONDS, "the operator's port"
    )
    return f"127.0.0.1:{found[1]}"
