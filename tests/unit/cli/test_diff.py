import json
from typing import Any

import pytest

from gemma_operator.api.manifest import Manifest, owner_of
from gemma_operator.api.read import read_spec
from gemma_operator.cli.diff import difference
from gemma_operator.cli.documents import InputError
from gemma_operator.cli.render import render
from gemma_operator.resources.revision import record_of, revision_of
from gemma_operator.settings import OperatorSettings

SETTINGS = OperatorSettings()
NEWER = OperatorSettings.model_validate({"pods": {"gateway": {"memory": "640Mi"}}})


def resource(**spec: Any) -> Manifest:
    return {
        "apiVersion": "serving.gemma-operator.dev/v1alpha1",
        "kind": "GemmaDeployment",
        "metadata": {"name": "assistant", "namespace": "team-a", "uid": "uid", "generation": 1},
        "spec": {"model": {"variant": "gemma-3-270m"}, "hardware": {"accelerator": "cpu"}, **spec},
    }


def record(served: Manifest) -> Manifest:
    rendered = render(served, SETTINGS, (), "team-a")
    return record_of(owner_of(served), revision_of(read_spec(served), rendered, "0.1.0"))


def test_what_would_not_change_has_no_difference() -> None:
    assert difference(resource(), [record(resource())], SETTINGS, ()) == ""


def test_replicas_are_no_difference_in_pods() -> None:
    assert difference(resource(replicas=3), [record(resource())], SETTINGS, ()) == ""


def test_what_a_newer_operator_changes_is_printed_as_a_diff() -> None:
    lines = difference(resource(), [record(resource())], NEWER, ()).splitlines()
    assert "--- running Deployment team-a/assistant" in lines
    assert any(line.startswith("-") and "512Mi" in line for line in lines)
    assert any(line.startswith("+") and "640Mi" in line for line in lines)


def test_an_edit_shows_in_configuration_and_deployment() -> None:
    edited = resource(capacity={"maxConcurrentRequests": 2})
    text = difference(edited, [record(resource())], SETTINGS, ())
    assert "running ConfigMap team-a/assistant-runtime" in text
    assert '+    "max_concurrent_requests": 2' in text.replace("      ", "    ")


def test_without_a_record_it_says_what_to_use_instead() -> None:
    with pytest.raises(InputError, match="render"):
        difference(resource(), [], SETTINGS, ())


def test_a_record_of_another_owner_is_not_read() -> None:
    foreign = record({**resource(), "metadata": {**resource()["metadata"], "uid": "other"}})
    with pytest.raises(InputError):
        difference(resource(), [json.loads(json.dumps(foreign))], SETTINGS, ())
