"""Buckets and images in the rendered objects: who fetches what, with which secret, and what gets out."""

from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest

from gemma_operator.api.manifest import Manifest
from gemma_operator.planning.origin import BucketOrigin, ImageOrigin, Origin
from gemma_operator.planning.plan import AdapterPlan, Plan
from gemma_operator.resources.desired import desired_objects
from gemma_operator.resources.layout import weights_path
from gemma_operator.settings import parse_settings
from gemma_serving.contract import bucket_folder
from support.plans import CPU_PLAN, GPU_PLAN, OWNER, from_origin, spec_of

SETTINGS = parse_settings("")
KUBERNETES = "1.36"
GCS = BucketOrigin("gs://models/gemma-3-270m")
S3 = BucketOrigin("s3://models/gemma-3-270m")
MINIO = BucketOrigin("s3://models/gemma-3-270m", "https://minio.example:9000", "store")
IMAGE = ImageOrigin("registry.example/gemma@sha256:" + "0" * 64, "models/270m")
METADATA = {("169.254.169.252/32", 988), ("169.254.169.254/32", 80)}
every_origin = pytest.mark.parametrize("origin", [GCS, S3, MINIO, IMAGE], ids=["gcs", "s3", "minio", "image"])


def rendered(plan: Plan, text: str = "", **fields: Any) -> dict[str, Manifest]:
    """Kind (and role, of policies) → manifest."""
    objects = desired_objects(OWNER, spec_of(**fields), plan, parse_settings(text))
    return {f"{m['kind']}{'-weights' if _is_for_weights(m) else ''}": m for m in objects}


def _is_for_weights(manifest: Manifest) -> bool:
    return manifest["kind"] == "NetworkPolicy" and manifest["metadata"]["name"].endswith("-weights")


def pod(objects: dict[str, Manifest], kind: str = "Deployment") -> Manifest:
    return dict(objects[kind]["spec"]["template"]["spec"])


def containers(spec: Manifest) -> dict[str, Manifest]:
    return {c["name"]: c for c in [*spec.get("initContainers", ()), *spec["containers"]]}


def secrets(container: Manifest) -> dict[str, dict[str, Any]]:
    return {v["name"]: v["valueFrom"]["secretKeyRef"] for v in container.get("env", ()) if "valueFrom" in v}


def blocks(policy: Manifest) -> set[tuple[str, int]]:
    return {
        (peer["ipBlock"]["cidr"], rule["ports"][0]["port"])
        for rule in policy["spec"]["egress"]
        for peer in rule.get("to", ())
        if "ipBlock" in peer
    }


@every_origin
def test_every_object_is_valid_without_an_unknown_field(origin: Origin) -> None:
    for manifest in rendered(from_origin(CPU_PLAN, origin)).values():
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize(
    ("origin", "arguments"),
    [
        (GCS, ["--uri=gs://models/gemma-3-270m"]),
        (S3, ["--uri=s3://models/gemma-3-270m"]),
        (MINIO, ["--uri=s3://models/gemma-3-270m", "--endpoint=https://minio.example:9000"]),
    ],
    ids=["gcs", "s3", "minio"],
)
@pytest.mark.parametrize(("fields", "kind"), [({}, "Deployment"), ({"cache": {}}, "Job")])
def test_the_fetcher_is_told_what_and_where(
    origin: Origin, arguments: list[str], fields: dict[str, Any], kind: str
) -> None:
    fetcher = containers(pod(rendered(from_origin(CPU_PLAN, origin), **fields), kind))["weights"]
    assert fetcher["args"] == [*arguments, "--target=/weights", "--file=gemma-3-270m-Q4_K_M.gguf"]


def test_only_the_fetcher_hears_of_the_secret_and_by_reference_alone() -> None:
    objects = rendered(from_origin(CPU_PLAN, MINIO))
    found = containers(pod(objects))
    assert secrets(found.pop("weights")) == {
        "AWS_ACCESS_KEY_ID": {"name": "store", "key": "accessKeyId"},
        "AWS_SECRET_ACCESS_KEY": {"name": "store", "key": "secretAccessKey"},
        "AWS_SESSION_TOKEN": {"name": "store", "key": "sessionToken", "optional": True},
    }
    assert "secretKeyRef" not in str(found)


@pytest.mark.parametrize("origin", [GCS, S3], ids=["gcs", "s3"])
def test_without_a_secret_the_identity_is_that_of_the_pods_account(origin: Origin) -> None:
    objects = rendered(from_origin(CPU_PLAN, origin), cache={})
    account = objects["ServiceAccount"]["metadata"]["name"]
    assert pod(objects, "Job")["serviceAccountName"] == account
    shared = rendered(from_origin(CPU_PLAN, origin), cache={"accessMode": "ReadWriteMany"})
    assert "serviceAccountName" not in pod(shared, "Job"), "docs/weights.md, who fetches"
    assert secrets(containers(pod(objects, "Job"))["weights"]) == {}


def test_the_engine_opens_what_the_fetcher_put_there() -> None:
    folder = bucket_folder(MINIO.uri, MINIO.endpoint)
    path = weights_path(from_origin(CPU_PLAN, MINIO).weights)
    assert path == f"/weights/{folder}/latest/gemma-3-270m-Q4_K_M.gguf"


@pytest.mark.parametrize(
    ("origin", "ports", "servers"),
    [
        (GCS, [443], METADATA),
        (S3, [443], {("169.254.170.23/32", 80)}),
        (MINIO, [9000], set()),
    ],
    ids=["gcs", "s3", "minio"],
)
def test_a_cached_fetch_alone_reaches_the_store_and_what_gives_it_an_identity(
    origin: Origin, ports: list[int], servers: set[tuple[str, int]]
) -> None:
    objects = rendered(from_origin(CPU_PLAN, origin), cache={})
    policy = objects["NetworkPolicy-weights"]
    assert [port["port"] for port in policy["spec"]["egress"][-1]["ports"]] == ports
    assert blocks(policy) == servers
    serving = objects["NetworkPolicy"]
    assert blocks(serving) == set()
    assert len(serving["spec"]["egress"]) == 1, "DNS alone"


def test_pods_that_fetch_for_themselves_reach_both() -> None:
    policy = rendered(from_origin(CPU_PLAN, GCS))["NetworkPolicy"]
    assert blocks(policy) == METADATA
    assert policy["spec"]["egress"][-1] == {"ports": [{"port": 443, "protocol": "TCP"}]}


def test_a_bucket_is_reached_through_the_proxy_and_with_the_bundle_too() -> None:
    text = "egress: {proxy: 'http://proxy.example:3128', caBundle: {configMap: company-ca}}"
    objects = rendered(from_origin(CPU_PLAN, MINIO), text, cache={})
    environment = {v["name"]: v.get("value") for v in containers(pod(objects, "Job"))["weights"]["env"]}
    assert environment["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert environment["SSL_CERT_FILE"] == "/etc/gemma-ca/ca.crt"
    ports = objects["NetworkPolicy-weights"]["spec"]["egress"][-1]["ports"]
    assert [port["port"] for port in ports] == [3128]


def test_an_image_is_mounted_read_only_and_nothing_is_fetched() -> None:
    objects = rendered(from_origin(CPU_PLAN, IMAGE))
    spec = pod(objects)
    [volume] = [volume for volume in spec["volumes"] if volume["name"] == "weights"]
    assert volume == {"name": "weights", "image": {"reference": IMAGE.reference}}
    assert "weights" not in containers(spec)
    for name in ("triton", "gateway"):
        [mount] = [m for m in containers(spec)[name]["volumeMounts"] if m["name"] == "weights"]
        assert mount == {"name": "weights", "mountPath": "/weights", "readOnly": True}
    path = weights_path(from_origin(CPU_PLAN, IMAGE).weights)
    assert path == "/weights/models/270m/gemma-3-270m-Q4_K_M.gguf"
    assert {"Job", "PersistentVolumeClaim"}.isdisjoint(objects)
    assert blocks(objects["NetworkPolicy"]) == set()


def test_another_image_is_another_pod() -> None:
    other = replace(IMAGE, reference="registry.example/gemma@sha256:" + "1" * 64)
    first, second = (pod(rendered(from_origin(CPU_PLAN, origin))) for origin in (IMAGE, other))
    assert first != second


def test_adapters_come_from_buckets_and_images_as_well() -> None:
    weights = replace(CPU_PLAN.weights, entry=".", files=("adapter_config.json",))
    adapters = (
        AdapterPlan("maths", replace(weights, origin=IMAGE), rank=8),
        AdapterPlan("polite", replace(weights, origin=MINIO), rank=8),
    )
    spec = pod(rendered(replace(GPU_PLAN, adapters=adapters)))
    found = containers(spec)
    assert set(secrets(found["weights-polite"])) >= {"AWS_ACCESS_KEY_ID"}
    assert set(secrets(found["weights"])) == {"HF_TOKEN"}
    [volume] = [volume for volume in spec["volumes"] if volume["name"] == "adapter-maths"]
    assert volume["image"] == {"reference": IMAGE.reference}
    [mount] = [m for m in found["triton"]["volumeMounts"] if m["name"] == "adapter-maths"]
    assert (mount["mountPath"], mount["readOnly"]) == ("/adapters/maths", True)
