"""vLLM in a pod as the operator renders it for an L4, on a node that only says it has one.

Real: operator, API server, scheduler, kubelet, gateway, Triton, the adapter, vLLM, Gemma 3 270M. Not real:
the accelerator. vLLM is its build for CPUs, so the image is another one, and its environment comes in the
claim with the model. Everything else of the pod is what a GPU would get, to which the first test holds it.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.endpoint import CONTINUATION, Endpoint
from cluster.namespaces import guard
from gemma_devcluster import images, installation
from gemma_devcluster.cluster import Cluster
from gemma_devcluster.images.commands import Buildah
from gemma_devcluster.images.recipes import REGISTRY
from gemma_devcluster.installation import Helm
from gemma_operator.__main__ import main
from gemma_operator.cli.render import render
from gemma_operator.settings import OperatorSettings
from support.fine_tuned import ANSWER, LORA_RANK, PROMPT, trained_adapter
from support.vllm_runtime import gemma_270m_folder, vllm_python

pytestmark = pytest.mark.vllm

CLUSTER_NAME = os.environ.get("DEVCLUSTER_NAME", "vllm")
NAMESPACE = "simulated"
CLAIM = "vllm"
IMAGE = f"{REGISTRY}/triton-vllm-cpu:test"
READY_SECONDS = 600
"""vLLM starts in half a minute on two idle cores, and five times slower on busy ones."""
ADAPTER_SECONDS = 240
"""The kubelet's sync of a ConfigMap, and a load on busy cores."""
SIMULATED = {"KV cache, tokens", "tokens per second"}
"""Figures of an L4 that a CPU does not have; how long it takes to start is its own as well."""


def spec(**engine: Any) -> dict[str, Any]:
    return {
        "model": {
            "variant": "gemma-3-270m",
            "contextLength": 1024,
            "source": {"persistentVolumeClaim": {"claimName": CLAIM, "path": "model"}},
            "adapterSlots": {"count": 1, "rank": LORA_RANK},
        },
        "engine": {"name": "VLLM", "arguments": {"enforce_eager": True}, **engine},
        "hardware": {"accelerator": "nvidia-l4", "cpu": "1"},
        "capacity": {"maxConcurrentRequests": 2, "requestTimeoutSeconds": 120},
    }


def volume(folder: Path) -> list[dict[str, Any]]:
    """A claim on a folder of this machine, as a cluster's administrator would offer one."""
    modes, size = ["ReadOnlyMany"], {"storage": "10Gi"}
    reference = {"namespace": NAMESPACE, "name": CLAIM}
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": CLAIM},
            "spec": {
                "accessModes": modes,
                "capacity": size,
                "storageClassName": "",
                "claimRef": reference,
                "hostPath": {"path": str(folder), "type": "Directory"},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": reference,
            "spec": {
                "accessModes": modes,
                "resources": {"requests": size},
                "storageClassName": "",
                "volumeName": CLAIM,
            },
        },
    ]


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The model, and vLLM's environment as hard links, readable by the pod's user."""
    folder = tmp_path_factory.mktemp("vllm-claim")
    folder.parent.chmod(0o755)
    folder.chmod(0o755)
    for name, source in (("model", gemma_270m_folder()), ("harbour", trained_adapter())):
        shutil.copytree(source, folder / name)
        for path in (folder / name, *(folder / name).iterdir()):
            path.chmod(0o755)
    environment = vllm_python().parents[1]
    subprocess.run(["cp", "--archive", "--link", str(environment), str(folder / "environment")], check=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def image_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CPU image of Triton that looks for vLLM in the claim."""
    base = images.build(["triton-cpu"])["triton-cpu"]
    tool = Buildah()
    if not tool.has(base.reference):
        subprocess.run(["buildah", "pull", "--quiet", f"docker-archive:{base.archive}"], check=True)
    here = Path(__file__).parent
    tool.build(here / "Dockerfile", here, IMAGE, {"BASE": base.reference})
    archive = tmp_path_factory.mktemp("image") / "triton-vllm-cpu.tar"
    tool.export(IMAGE, archive)
    tool.remove(IMAGE)
    return archive


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = Cluster(CLUSTER_NAME, gpus={"nvidia-l4": 1})
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module")
def endpoint(cluster: Cluster, shared_folder: Path, image_archive: Path) -> Endpoint:
    """A GemmaDeployment on the simulated L4 that has become Ready."""
    built = images.build(["operator", "gateway", "triton-cpu"])
    for archive in (built["operator"].archive, built["gateway"].archive, image_archive):
        cluster.load_image(archive)
    kubectl = cluster.kubectl
    installation.install_operator(kubectl, Helm(cluster.binaries.path("helm"), cluster.kubeconfig()), built)
    guard(kubectl, NAMESPACE)
    kubectl.apply(volume(shared_folder))
    endpoint = Endpoint(kubectl, NAMESPACE, "tiny")
    endpoint.apply(spec(image=IMAGE))
    endpoint.wait("Ready", READY_SECONDS)
    return endpoint


def pod_template(image: dict[str, str]) -> dict[str, Any]:
    resource = {
        "apiVersion": "serving.gemma-operator.dev/v1alpha1",
        "kind": "GemmaDeployment",
        "metadata": {"name": "tiny"},
        "spec": spec(**image),
    }
    [deployment] = [
        m for m in render(resource, OperatorSettings(), (), NAMESPACE) if m["kind"] == "Deployment"
    ]
    template: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return template


def test_the_pod_differs_from_a_gpus_by_its_image_alone() -> None:
    simulated, real = pod_template({"image": IMAGE}), pod_template({})
    images_of = [next(c for c in pod["containers"] if c["name"] == "triton") for pod in (simulated, real)]
    assert [container.pop("image").rpartition("/")[2].partition(":")[0] for container in images_of] == [
        "triton-vllm-cpu",
        "tritonserver",
    ]
    assert simulated == real
    assert images_of[1]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_it_runs_where_the_accelerator_is_said_to_be_and_answers(endpoint: Endpoint) -> None:
    [pod] = endpoint.pods()
    assert pod["spec"]["nodeName"] == f"{CLUSTER_NAME}-nvidia-l4"
    plan = endpoint.manifest()["status"]["plan"]
    assert (plan["engine"], plan["accelerator"], plan["count"]) == ("VLLM", "nvidia-l4", 1)
    assert CONTINUATION in endpoint.complete()


def test_an_adapter_comes_to_the_running_pod_and_leaves_it(endpoint: Endpoint) -> None:
    [before] = endpoint.pods()
    changed = spec(image=IMAGE)
    source = {"persistentVolumeClaim": {"claimName": CLAIM, "path": "harbour"}}
    changed["model"]["adapters"] = [{"name": "harbour", "rank": LORA_RANK, "source": source}]
    endpoint.apply(changed)
    endpoint.wait_adapter("harbour", "Loaded", ADAPTER_SECONDS)
    assert endpoint.manifest()["status"]["adapters"][0]["loaded"] == "1/1"
    assert endpoint.complete(PROMPT, adapter="harbour").startswith(ANSWER)
    assert not endpoint.complete(PROMPT).startswith(ANSWER)
    endpoint.apply(spec(image=IMAGE))
    endpoint.wait_observed()
    [after] = endpoint.pods()
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert [endpoint.restarts(after["metadata"]["name"], name) for name in ("triton", "gateway")] == [0, 0]


def test_one_command_finds_every_promise_kept_but_an_l4s_figures(
    cluster: Cluster,
    endpoint: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig()))
    main(["verify-gpu", endpoint.name, "--namespace", NAMESPACE, "--drain", "--output", "json"])
    proof = json.loads(capsys.readouterr().out)
    unmet = {row["name"]: row for row in proof["rows"] if not row["is_met"] and row["name"] not in SIMULATED}
    assert [row for name, row in unmet.items() if not name.startswith("start, ")] == []
    assert {"cancelling", "drain", "streaming", "stop tokens"} <= {row["name"] for row in proof["rows"]}
