"""How often the metric source is asked, and when its silence counts."""

from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from gemma_operator.api.manifest import Owner
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.catalog import load_catalog
from gemma_operator.controller.scaling import PROOF_SECONDS, RETRY_SECONDS, Prover
from gemma_operator.planning.inventory import Inventory
from gemma_operator.planning.plan import Plan
from gemma_operator.planning.planner import make_plan
from gemma_operator.resources.autoscaling import Arrangement, Moment, Offers, arrangement_for
from gemma_operator.settings import OperatorSettings, ScalingSettings
from gemma_operator.status.scaling import GRACE_SECONDS, is_failing
from support.corridor import KEY

ANSWER = (
    b'{"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [0, "1"]}]}}'
)


class Source(ThreadingHTTPServer):
    """A Prometheus that answers, or does not."""

    is_up = True
    asked = 0


class Api(BaseHTTPRequestHandler):
    server: Source

    def do_GET(self) -> None:
        self.server.asked += 1
        self.send_response(200 if self.server.is_up else 503)
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def source() -> Iterator[Source]:
    with Source(("127.0.0.1", 0), Api) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class Looks:
    """A prover whose time the test moves."""

    def __init__(self, source: Source) -> None:
        self.now = 0.0
        self.settings = ScalingSettings(prometheus_url=f"http://127.0.0.1:{source.server_port}")
        self.prover = Prover(clock=lambda: self.now)

    async def look(self) -> float:
        """For how long it has been failing."""
        readings = await self.prover.readings(KEY, arrangement(self.settings), self.settings)
        return self.prover.failing_seconds(KEY, is_failing(readings, ()))


def arrangement(scaling: ScalingSettings) -> Arrangement:
    body = {
        "model": {"variant": "gemma-3-270m"},
        "hardware": {"accelerator": "cpu"},
        "scaling": {"maxReplicas": 3},
    }
    spec = GemmaDeploymentSpec.model_validate(body)
    settings = OperatorSettings(scaling=scaling)
    plan = make_plan(spec, load_catalog(), settings.planning(), Inventory())
    assert isinstance(plan, Plan)
    moment = Moment(datetime(2026, 11, 25, tzinfo=UTC), Offers(keda=True))
    found = arrangement_for(Owner("assistant", "team-a", "uid", 1), spec, plan, settings, moment)
    assert found is not None
    return found


@pytest.fixture
def looks(source: Source) -> Looks:
    return Looks(source)


async def test_a_good_answer_is_kept_until_the_next_look(looks: Looks, source: Source) -> None:
    assert await looks.look() == 0
    asked = source.asked
    looks.now = PROOF_SECONDS - 1
    await looks.look()
    assert source.asked == asked
    looks.now = PROOF_SECONDS
    await looks.look()
    assert source.asked > asked


async def test_a_failure_is_looked_at_again_soon_and_one_good_answer_ends_it(
    looks: Looks, source: Source
) -> None:
    source.is_up = False
    assert await looks.look() == 0
    assert looks.prover.lasts_seconds(KEY) == RETRY_SECONDS
    looks.now = RETRY_SECONDS
    assert await looks.look() == RETRY_SECONDS
    source.is_up, looks.now = True, 2 * RETRY_SECONDS
    assert await looks.look() == 0
    assert looks.prover.lasts_seconds(KEY) == PROOF_SECONDS
    source.is_up, looks.now = False, 2 * RETRY_SECONDS + PROOF_SECONDS
    assert await looks.look() == 0


async def test_an_outage_counts_after_the_grace_and_is_not_hammered(looks: Looks, source: Source) -> None:
    source.is_up = False
    await looks.look()
    while looks.prover.lasts_seconds(KEY) == RETRY_SECONDS:
        looks.now += RETRY_SECONDS
        lasted = await looks.look()
    assert lasted == GRACE_SECONDS
    assert looks.prover.lasts_seconds(KEY) == PROOF_SECONDS
