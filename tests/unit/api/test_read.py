from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_operator.api.base import API_VERSION, KIND
from gemma_operator.api.read import SpecError, read_spec
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec

ADAPTER = {"name": "legal", "source": {"huggingFace": {"repository": "team/legal"}}}


def resource(spec: Any) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "x"}, "spec": spec}


def sourced(**source: Any) -> dict[str, Any]:
    return {"model": {"variant": "v", "source": source}}


def test_four_lines_are_enough() -> None:
    spec = read_spec(resource({"model": {"variant": "gemma-3-4b-it"}}), strict=True)
    assert (spec.replicas, spec.hardware.accelerator, spec.cache) == (1, "Auto", None)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "spec.model: is required"),
        ({"model": {}}, "spec.model.variant: is required"),
        ({"model": {"variant": "v", "precision": "Q5"}}, "spec.model.precision: "),
        ({"model": {"variant": "v"}, "replicas": "many"}, "spec.replicas: .*(found 'many')"),
        ({"model": {"variant": "v"}, "replicas": -1}, "spec.replicas: "),
        ({"model": {"variant": "v"}, "hardware": {"memory": "8 GB"}}, "spec.hardware.memory: "),
        (sourced(), "exactly one of huggingFace, gcs, s3, persistentVolumeClaim and image"),
        (
            {
                "model": {
                    "variant": "v",
                    "source": {
                        "huggingFace": {"repository": "a/b"},
                        "persistentVolumeClaim": {"claimName": "c"},
                    },
                }
            },
            "exactly one of huggingFace, gcs, s3, persistentVolumeClaim and image",
        ),
        (
            {
                "model": {
                    "variant": "v",
                    "source": {"huggingFace": {"repository": "a/b", "revision": "a/../b"}},
                }
            },
            "cannot hold '..'",
        ),
        (
            {
                "model": {
                    "variant": "v",
                    "source": {"persistentVolumeClaim": {"claimName": "c", "path": "a/../../etc"}},
                }
            },
            "path lies within the claim",
        ),
        (sourced(gcs={"uri": "gs://models/a/../b"}), "uri names a bucket"),
        (sourced(gcs={"uri": "s3://models/a"}), "spec.model.source.gcs.uri: "),
        (sourced(gcs={"uri": "gs://Models/a"}), "spec.model.source.gcs.uri: "),
        (sourced(s3={"uri": "s3://models/a b"}), "spec.model.source.s3.uri: "),
        (sourced(s3={"uri": "s3://models", "endpoint": "https://me:pw@store"}), "model.source.s3.endpoint: "),
        (sourced(s3={"uri": "s3://models", "credentialsSecretRef": {}}), "SecretRef.name: is required"),
        (sourced(image={"reference": "a b"}), "spec.model.source.image.reference: "),
        (sourced(image={"reference": "a", "path": "b/../c"}), "path lies within the image"),
        (sourced(image={"reference": "a"}, gcs={"uri": "gs://models"}), "exactly one of huggingFace, gcs"),
        ({**sourced(image={"reference": "a"}), "cache": {}}, "need no cache"),
        ({"model": {"variant": "v"}, "hardware": {"accelerator": "cpu", "count": 1}}, "leave it out with"),
        ({"model": {"variant": "v"}, "cache": {"claimName": "c", "size": "1Gi"}}, "names an existing claim"),
        (
            {
                "model": {"variant": "v", "source": {"persistentVolumeClaim": {"claimName": "c"}}},
                "cache": {"size": "1Gi"},
            },
            "need no cache",
        ),
        ({"model": {"variant": "v"}, "engine": {"image": "i:1"}}, "image holds one engine"),
        ({"model": {"variant": "v"}, "engine": {"arguments": {"a": 1}}}, "arguments are those of one engine"),
        ({"model": {"variant": "v", "adapters": [ADAPTER, ADAPTER]}}, "no two may share one"),
        ({"model": {"variant": "v", "adapters": [{**ADAPTER, "name": "a:b"}]}}, "spec.model.adapters"),
    ],
)
def test_a_bad_spec_is_answered_with_field_and_reason(spec: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words.replace("(", r"\(").replace(")", r"\)")):
        read_spec(resource(spec))


def test_several_problems_are_told_at_once() -> None:
    with pytest.raises(SpecError) as error:
        read_spec(resource({"model": {"variant": ""}, "replicas": -1}))
    assert "spec.model.variant" in str(error.value)
    assert "spec.replicas" in str(error.value)


def test_a_field_of_a_newer_crd_is_ignored_in_a_cluster_and_refused_in_a_file() -> None:
    newer = resource({"model": {"variant": "v", "contextLenght": 4096}})
    assert read_spec(newer).model.context_length is None
    with pytest.raises(SpecError, match=r"spec\.model\.contextLenght: there is no such field"):
        read_spec(newer, strict=True)


def test_another_kind_is_named() -> None:
    with pytest.raises(SpecError, match=r"expected .* GemmaDeployment, found v1 Pod"):
        read_spec({"apiVersion": "v1", "kind": "Pod", "spec": {}})


FIELDS = ["model", "variant", "replicas", "hardware", "cache", "source", "huggingFace", "capacity", "engine"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(FIELDS), inner),
        max_leaves=12,
    )
)
def test_whatever_is_stored_is_a_spec_or_a_spec_error(spec: Any) -> None:
    with suppress(SpecError):
        assert isinstance(read_spec(resource(spec)), GemmaDeploymentSpec)
