"""Which edits take new pods: the whole of the API, field by field, held against the rendered template."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from types import UnionType
from typing import Any, get_args, get_origin

import pytest

from gemma_operator.api.base import ApiModel
from gemma_operator.api.manifest import TEMPLATE_HASH_ANNOTATION, Manifest
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.resources.desired import desired_objects
from gemma_operator.resources.revision import revision_of
from gemma_operator.settings import OperatorSettings
from support.planning import planned
from support.plans import OWNER

HUB: Manifest = {"repository": "google/gemma-3-270m", "revision": "main", "tokenSecretRef": {"name": "hub"}}
CPU: Manifest = {
    "model": {"variant": "gemma-3-270m", "contextLength": 1024, "source": {"huggingFace": HUB}},
    "hardware": {"accelerator": "cpu"},
    "capacity": {"maxConcurrentRequests": 2},
    "access": {
        "apiKeysSecretRef": {"name": "keys"},
        "limitStore": {"urlSecretRef": {"name": "store"}},
    },
    "safety": {"blockedTermsConfigMapRef": {"name": "terms"}, "guardRef": {"name": "guard"}},
}
CACHED: Manifest = {**CPU, "cache": {}}
CLAIM: Manifest = {
    **CPU,
    "model": {
        "variant": "gemma-3-270m",
        "source": {"persistentVolumeClaim": {"claimName": "models", "path": "a"}},
    },
}
GCS: Manifest = {**CPU, "model": {"variant": "gemma-3-270m", "source": {"gcs": {"uri": "gs://models/a"}}}}
STORE: Manifest = {
    "uri": "s3://models/a",
    "endpoint": "http://store.example",
    "credentialsSecretRef": {"name": "store"},
}
S3: Manifest = {**CPU, "model": {"variant": "gemma-3-270m", "source": {"s3": STORE}}}
IMAGE: Manifest = {
    **CPU,
    "model": {"variant": "gemma-3-270m", "source": {"image": {"reference": "gemma:1", "path": "a"}}},
}
GPU: Manifest = {"model": {"variant": "gemma-3-4b-it"}, "hardware": {"accelerator": "nvidia-l4"}}
VLLM: Manifest = {**GPU, "engine": {"name": "VLLM"}}
TUNED: Manifest = {"persistentVolumeClaim": {"claimName": "tuned", "path": "base"}}
SLOTS: Manifest = {
    **VLLM,
    "model": {"variant": "gemma-3-4b-it", "source": TUNED, "adapterSlots": {"count": 2, "rank": 16}},
}
"""Room for two adapters in running pods."""
LEGAL: Manifest = {
    "name": "legal",
    "source": {"persistentVolumeClaim": {"claimName": "tuned", "path": "legal"}},
}
DRAFTED: Manifest = {"model": {"variant": "gemma-4-e2b-it"}, "engine": {"drafter": {}}}
PLAIN: Manifest = {"model": {"variant": "gemma-3-4b-it"}}


@dataclass(frozen=True)
class Edit:
    """A field of the API, another value for it, and whether pods have to be made anew for that."""

    path: str
    value: Any
    restarts: bool
    base: Manifest


def _edits(base: Manifest, restarts: bool, **values: Any) -> list[Edit]:
    return [Edit(path.replace("__", "."), value, restarts, base) for path, value in values.items()]


EDITS = [
    # What the engine is, and what it loads.
    *_edits(
        CPU,
        True,
        model__variant="gemma-3-1b-it",
        model__precision="Q8_0",
        model__optimization="Performance",
        model__contextLength=2048,
        model__adapters=[{"name": "legal", "source": {"huggingFace": {"repository": "team/legal"}}}],
        model__source__huggingFace__repository="team/gemma-3-270m",
        model__source__huggingFace__revision="v2",
        model__source__huggingFace__endpoint="http://mirror.example",
        model__source__huggingFace__tokenSecretRef__name="other",
        model__source__huggingFace__tokenSecretRef__key="other",
        hardware__cpu="3",
        hardware__memory="4Gi",
        hardware__nodeSelector={"zone": "a"},
        hardware__tolerations=[{"key": "team", "operator": "Exists"}],
        hardware__computeClass="cheap",
        hardware__spot=True,
        capacity__maxConcurrentRequests=3,
        capacity__requestTimeoutSeconds=60,
        pod__priorityClassName="high",
    ),
    *_edits(
        CLAIM,
        True,
        model__source__persistentVolumeClaim__claimName="others",
        model__source__persistentVolumeClaim__path="b",
    ),
    *_edits(GCS, True, model__source__gcs__uri="gs://models/b"),
    *_edits(
        S3,
        True,
        model__source__s3__uri="s3://models/b",
        model__source__s3__endpoint="http://other.example",
        model__source__s3__credentialsSecretRef__name="other",
    ),
    *_edits(IMAGE, True, model__source__image__reference="gemma:2", model__source__image__path="b"),
    *_edits(GPU, True, hardware__accelerator="nvidia-a100-80gb", hardware__count=2),
    *_edits(PLAIN, True, engine__name="LlamaCpp", hardware__candidates=["cpu"]),
    *_edits(VLLM, True, engine__image="registry.example/triton:1", engine__arguments={"seed": 1}),
    *_edits(SLOTS, True, model__adapterSlots__count=3, model__adapterSlots__rank=32),
    *_edits(SLOTS, True, model__adapters=[{**LEGAL, "rank": 64}]),
    *_edits(VLLM, True, engine__compileCache__claimName="compiled"),
    *_edits(
        DRAFTED,
        True,
        engine__drafter__tokens=2,
        engine__drafter__repository="team/drafter",
        engine__drafter__revision="v2",
    ),
    # Read once, when a gateway starts.
    *_edits(
        CPU,
        True,
        media__maxItems=1,
        media__maxItemSize="1Mi",
        media__maxPixels=1000,
        media__fetchUrls=True,
        monitoring__degraded__canarySeconds=3,
        monitoring__degraded__successPercent=50,
        monitoring__degraded__queuePercent=50,
        monitoring__degraded__memoryPercent=50,
        monitoring__qualitySamplePercent=5,
        monitoring__endpointPickerAliases=True,
    ),
    # Another volume. What is in it is followed without.
    *_edits(
        CPU,
        True,
        access__apiKeysSecretRef__name="other",
        access__limitStore__urlSecretRef__name="other",
        safety__blockedTermsConfigMapRef__name="other",
        safety__guardRef__apiKeySecretRef__name="other",
    ),
    *_edits(
        {**CPU, "safety": {"guardRef": {"name": "guard", "apiKeySecretRef": {"name": "guard-key"}}}},
        False,
        safety__guardRef__apiKeySecretRef__key="other",
    ),
    *_edits(CACHED, True, cache__claimName="models", cache__storageClassName="fast", cache__size="9Gi"),
    *_edits(CACHED, True, cache__accessMode="ReadWriteMany"),
    *_edits(CACHED, False, cache__retention="Retain"),
    # Taken up by running engines.
    *_edits(SLOTS, False, model__adapters=[LEGAL]),
    # Taken up by running gateways.
    *_edits(
        CPU,
        False,
        capacity__maxQueuedRequests=7,
        access__limits__requestsPerMinute=7,
        access__limits__requestsPerHour=7,
        access__limits__tokensPerMinute=7,
        access__limits__tokensPerRequest=7,
        access__limitStore__port=7000,
        access__limitStore__urlSecretRef__key="other",
        access__limitStore__onFailure="Closed",
        safety__maxInputCharacters=7,
        safety__guardRef__name="other",
        safety__policies=["Harassment"],
        safety__stages=["Input"],
        safety__onGuardFailure="Open",
    ),
    # About pods, not in them.
    *_edits(
        CPU,
        False,
        replicas=3,
        suspend=True,
        rollout__strategy="Recreate",
        rollout__upgradePolicy="Automatic",
        rollout__progressDeadlineSeconds=7200,
        monitoring__scrape="None",
        pod__safeToEvict=False,
        monitoring__objectives__timeToFirstTokenP95Seconds=0.5,
        monitoring__objectives__timePerOutputTokenP95Seconds=0.5,
        monitoring__objectives__availabilityPercent=99.5,
    ),
    *_edits(
        {**CPU, "scaling": {"maxReplicas": 3}},
        False,
        scaling__minReplicas=2,
        scaling__maxReplicas=4,
        scaling__signal="KVCacheUtilization",
        scaling__target=0.5,
        scaling__additionalSignals=[{"signal": "KVCacheUtilization"}],
        scaling__backend="KEDA",
        scaling__idleSeconds=60,
        scaling__schedules=[{"start": "0 8 * * *", "end": "0 18 * * *", "minReplicas": 2, "maxReplicas": 3}],
    ),
]
LIVE_ONLY = [
    edit
    for edit in EDITS
    if not edit.restarts and "guardRef" not in edit.path and edit.path != "model.adapters"
]
"""Adapters of a revision that is held are its own: an edit of them takes along what is held."""


def leaves(model: type[ApiModel], prefix: str = "") -> Iterator[str]:
    """Every field that holds a value, as a user writes it; what a list holds belongs to the list."""
    for name, field in model.model_fields.items():
        path = prefix + (field.alias or name)
        below = _model_in(field.annotation)
        if below is None:
            yield path
        else:
            yield from leaves(below, path + ".")


def _model_in(annotation: Any) -> type[ApiModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        return annotation
    if get_origin(annotation) is UnionType:
        return next((found for found in map(_model_in, get_args(annotation)) if found), None)
    return None


def edited(edit: Edit) -> Manifest:
    spec = deepcopy(edit.base)
    *groups, name = edit.path.split(".")
    place = spec
    for group in groups:
        place = place.setdefault(group, {})
    place[name] = edit.value
    if edit.path == "hardware.candidates":
        spec["hardware"].pop("accelerator", None)
    return spec


def rendered(spec: Manifest) -> tuple[Manifest, ...]:
    wanted = GemmaDeploymentSpec.model_validate(spec, extra="forbid")
    plan = planned(wanted)
    return desired_objects(OWNER, wanted, plan, OperatorSettings())


def template_hash(spec: Manifest) -> str:
    deployment = next(manifest for manifest in rendered(spec) if manifest["kind"] == "Deployment")
    found: str = deployment["metadata"]["annotations"][TEMPLATE_HASH_ANNOTATION]
    return found


def named(edit: Edit) -> str:
    return edit.path


def test_every_field_of_the_api_is_in_the_table() -> None:
    """A field without a row: say in EDITS whether changing it takes new pods."""
    assert sorted({edit.path for edit in EDITS}) == sorted(leaves(GemmaDeploymentSpec))


@pytest.mark.parametrize("edit", EDITS, ids=named)
def test_an_edit_takes_new_pods_exactly_where_the_table_says_so(edit: Edit) -> None:
    assert (template_hash(edited(edit)) != template_hash(edit.base)) is edit.restarts


@pytest.mark.parametrize("edit", EDITS, ids=named)
def test_an_edit_is_told_from_a_newer_operator(edit: Edit) -> None:
    """Pods that are held must follow an edit that changes them, and none that does not."""
    before, after = (
        revision_of(GemmaDeploymentSpec.model_validate(spec), rendered(spec), "1").spec_hash
        for spec in (edit.base, edited(edit))
    )
    if edit.restarts:
        assert before != after
    elif edit in LIVE_ONLY and edit.path != "access.limitStore.port":
        assert before == after
