"""What an autoscaler gets: golden objects for each backend, and the laws behind the numbers in them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kubernetes_validate
import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_operator.api.manifest import Owner
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.catalog import load_catalog
from gemma_operator.cli.render import to_yaml
from gemma_operator.planning.inventory import Inventory
from gemma_operator.planning.plan import Plan
from gemma_operator.planning.planner import make_plan
from gemma_operator.resources.autoscaling import Arrangement, Backend, Moment, Offers, arrangement_for
from gemma_operator.settings import HpaMetrics, OperatorSettings, ScalingSettings

GOLDEN = Path(__file__).parent / "autoscaling_golden"
OWNER = Owner("assistant", "team-a", "uid-1", 1)
PROMETHEUS = "http://prometheus.monitoring:9090"
DOOR = "http://gemma-front-door.gemma-system:9090"
BOTH = ScalingSettings(prometheus_url=PROMETHEUS, front_door_url=DOOR)
MONDAY_NINE = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
KEDA = Offers(keda=True)


def spec_with(scaling: dict[str, Any], **fields: Any) -> GemmaDeploymentSpec:
    model = {"variant": "gemma-3-270m", "contextLength": 2048}
    return GemmaDeploymentSpec.model_validate(
        {
            "model": model,
            "hardware": {"accelerator": "cpu"},
            "capacity": {"maxConcurrentRequests": 4},
            "scaling": {"maxReplicas": 3, **scaling},
            **fields,
        }
    )


def arranged(
    scaling: dict[str, Any],
    offers: Offers = KEDA,
    settings: ScalingSettings = BOTH,
    now: datetime = MONDAY_NINE,
) -> Arrangement:
    spec = spec_with(scaling)
    everything = OperatorSettings(scaling=settings)
    plan = make_plan(spec, load_catalog(), everything.planning(), Inventory())
    assert isinstance(plan, Plan)
    found = arrangement_for(OWNER, spec, plan, everything, Moment(now, offers))
    assert found is not None
    return found


ALL_SIGNALS = {
    "additionalSignals": [{"signal": "KVCacheUtilization"}, {"signal": "TimeToFirstToken", "target": 1.5}]
}
CASES = {
    "keda": (arranged({"minReplicas": 1}), Backend.KEDA_PROMETHEUS),
    "keda-to-zero": (arranged({"minReplicas": 0, "idleSeconds": 600}), Backend.KEDA_PROMETHEUS),
    "keda-all-signals": (arranged(ALL_SIGNALS), Backend.KEDA_PROMETHEUS),
    "keda-front-door": (
        arranged({"minReplicas": 0}, settings=ScalingSettings(front_door_url=DOOR)),
        Backend.KEDA_FRONT_DOOR,
    ),
    "hpa-prometheus-adapter": (
        arranged({"additionalSignals": [{"signal": "KVCacheUtilization"}]}, offers=Offers()),
        Backend.PROMETHEUS_ADAPTER,
    ),
    "hpa-gke": (
        arranged(
            {},
            offers=Offers(autoscaling_metrics=True),
            settings=ScalingSettings(hpa_metrics=HpaMetrics.GKE),
        ),
        Backend.GKE,
    ),
    "hpa-stackdriver": (
        arranged({"backend": "HPA"}, settings=ScalingSettings(hpa_metrics=HpaMetrics.STACKDRIVER)),
        Backend.STACKDRIVER,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_objects_are_as_recorded(name: str, request: pytest.FixtureRequest) -> None:
    arrangement, backend = CASES[name]
    assert arrangement.choice.backend is backend
    rendered, path = to_yaml(arrangement.objects), GOLDEN / f"{name}.yaml"
    if request.config.getoption("--update-golden", default=False):
        path.write_text(rendered)
    assert rendered == path.read_text(), "run pytest with --update-golden and review the diff"


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("hpa")])
def test_hpas_are_valid_for_kubernetes(name: str) -> None:
    scaler = CASES[name][0].objects[-1]
    kubernetes_validate.validate(scaler, "1.36", strict=True)


@pytest.mark.parametrize("name", CASES)
def test_every_query_is_promql(name: str) -> None:
    for source in CASES[name][0].sources.sources:
        promql_parser.parse(source.query)


def test_a_switch_of_backend_leaves_one_object_of_another_kind() -> None:
    kinds = {case: {m["kind"] for m in CASES[case][0].objects} for case in ("keda", "hpa-stackdriver")}
    assert kinds == {"keda": {"ScaledObject"}, "hpa-stackdriver": {"HorizontalPodAutoscaler"}}


@pytest.mark.parametrize(
    ("scaling", "offers", "settings", "words"),
    [
        ({"backend": "KEDA"}, Offers(), BOTH, "Install KEDA"),
        ({"minReplicas": 0}, Offers(), BOTH, "only KEDA wakes"),
        ({"minReplicas": 0}, KEDA, ScalingSettings(prometheus_url=PROMETHEUS), "needs the front door"),
        ({}, KEDA, ScalingSettings(), "has nothing to read"),
        ({"signal": "TimeToFirstToken"}, Offers(), BOTH, "reads no quantiles"),
        ({"signal": "TimeToFirstToken"}, KEDA, ScalingSettings(front_door_url=DOOR), "need a Prometheus"),
        ({"backend": "HPA"}, KEDA, ScalingSettings(hpa_metrics=HpaMetrics.GKE), "AutoscalingMetric"),
    ],
)
def test_what_cannot_scale_says_what_is_missing_and_renders_nothing(
    scaling: dict[str, Any], offers: Offers, settings: ScalingSettings, words: str
) -> None:
    arrangement = arranged(scaling, offers, settings)
    assert arrangement.choice.backend is None
    assert words in arrangement.choice.sentence
    assert arrangement.objects == ()


def test_keda_comes_first_and_says_so() -> None:
    assert arranged({}).choice.sentence == f"KEDA is installed, and reads Prometheus at {PROMETHEUS}"
    assert "KEDA is not installed" in arranged({}, offers=Offers()).choice.sentence


OFFICE = {
    "start": "0 8 * * 1-5",
    "end": "0 18 * * 1-5",
    "timeZone": "Europe/Berlin",
    "minReplicas": 2,
    "maxReplicas": 6,
}


@pytest.mark.parametrize(
    ("moment", "bounds"),
    [
        (datetime(2026, 11, 23, 6, 59, tzinfo=UTC), (0, 3)),
        (datetime(2026, 11, 23, 7, 0, tzinfo=UTC), (2, 6)),
        (datetime(2026, 11, 23, 16, 59, tzinfo=UTC), (2, 6)),
        (datetime(2026, 11, 23, 17, 0, tzinfo=UTC), (0, 3)),
        (datetime(2026, 11, 28, 12, 0, tzinfo=UTC), (0, 3)),
        (datetime(2026, 7, 6, 6, 0, tzinfo=UTC), (2, 6)),
    ],
    ids=["before", "begins", "during", "over", "saturday", "summer time"],
)
def test_a_schedule_sets_the_bounds_in_its_own_time_zone(moment: datetime, bounds: tuple[int, int]) -> None:
    found = arranged({"minReplicas": 0, "schedules": [OFFICE]}, now=moment)
    assert (found.bounds.least, found.bounds.most) == bounds
    spec = found.objects[0]["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == bounds


def test_the_next_change_of_a_schedule_is_known() -> None:
    found = arranged({"schedules": [OFFICE]}, now=datetime(2026, 11, 23, 6, 30, tzinfo=UTC))
    assert found.bounds.changes_in_seconds == 1800


def wanted(waiting: float, running: float, target: float, slots: int) -> int:
    """What the HPA makes of the formula: AverageValue with target 1."""
    return -int(-max(running / slots, waiting / target) // 1)


@given(
    waiting=st.integers(0, 500),
    running=st.integers(0, 64),
    target=st.integers(1, 20),
    slots=st.integers(1, 16),
)
def test_a_longer_queue_never_asks_for_fewer(waiting: int, running: int, target: int, slots: int) -> None:
    assert wanted(waiting + 1, running, target, slots) >= wanted(waiting, running, target, slots)


@given(replicas=st.integers(1, 50), slots=st.integers(1, 16))
def test_replicas_whose_slots_are_all_busy_are_kept(replicas: int, slots: int) -> None:
    assert wanted(0, replicas * slots, 4, slots) >= replicas


def test_the_formula_is_the_one_that_the_laws_are_about() -> None:
    assert CASES["keda"][0].sources.formula == "max(running / 4, waiting / 4)"
    assert "ready" not in CASES["keda-all-signals"][0].sources.formula
