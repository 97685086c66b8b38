"""`spec.scaling`: what is refused, with which words."""

from typing import Any

import pytest

from gemma_operator.api.base import API_VERSION, KIND
from gemma_operator.api.read import SpecError, read_spec


def read(scaling: dict[str, Any], **fields: Any) -> None:
    spec = {"model": {"variant": "gemma-3-270m"}, "scaling": scaling, **fields}
    read_spec({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "x"}, "spec": spec}, strict=True)


WORKING_HOURS = {"start": "0 8 * * *", "end": "0 18 * * *", "minReplicas": 1, "maxReplicas": 2}


def test_a_maximum_is_enough() -> None:
    read({"maxReplicas": 3})


@pytest.mark.parametrize(
    ("scaling", "words"),
    [
        ({}, "maxReplicas: is required"),
        ({"maxReplicas": 1, "minReplicas": 2}, "maxReplicas must be at least minReplicas"),
        ({"maxReplicas": 2, "minReplicas": 0, "backend": "HPA"}, "minReplicas 0 needs KEDA"),
        ({"maxReplicas": 2, "signal": "KVCacheUtilization", "target": 80}, "a share above 0"),
        ({"maxReplicas": 2, "additionalSignals": [{"signal": "WaitingRequests"}]}, "each signal once"),
        ({"maxReplicas": 2, "schedules": [{**WORKING_HOURS, "timeZone": "Berlin"}]}, "no IANA time zone"),
        ({"maxReplicas": 2, "schedules": [{**WORKING_HOURS, "start": "8 o'clock !"}]}, "schedules.0.start"),
        ({"maxReplicas": 2, "schedules": [{**WORKING_HOURS, "start": "0 25 * * *"}]}, "Bad hour"),
    ],
)
def test_what_contradicts_itself_is_refused(scaling: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        read(scaling)


def test_a_number_beside_scaling_is_refused() -> None:
    with pytest.raises(SpecError, match="leave replicas out"):
        read({"maxReplicas": 3}, replicas=2)
