"""A real cluster: pods, logs, exec, DNS, Services, NetworkPolicies, volumes and simulated accelerators."""

import json
import threading
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from devcluster.conftest import ProbeImage
from devcluster.pods import Manifest, namespace, pod, probe, run_ready, service
from gemma_devcluster.addresses import HOST_NAME
from gemma_devcluster.cluster import Cluster
from gemma_devcluster.errors import DevclusterError
from gemma_devcluster.waiting import await_value

pytestmark = pytest.mark.cluster

POLICY_SECONDS = 20.0
RELEASE_SECONDS = 30.0
# RFC 5737: never routed, so a pod that could leave would time out instead of being refused at once.
ELSEWHERE = "198.51.100.1:443"


def succeeds(action: Callable[[], str]) -> bool:
    try:
        action()
    except DevclusterError:
        return False
    return True


@pytest.fixture(scope="module")
def web(cluster: Cluster, probe_image: ProbeImage) -> Cluster:
    """Namespace `web`: pods `server` and `client`, Service `server`."""
    pods = [pod(name, probe_image.name) for name in ("server", "client")]
    run_ready(cluster, "web", *pods, service("server"))
    return cluster


def test_a_restricted_pod_runs_and_its_log_can_be_read(web: Cluster) -> None:
    assert web.kubectl.run("-n", "web", "logs", "server") == "serving\n"


def test_a_privileged_pod_is_refused_where_restricted_is_enforced(web: Cluster) -> None:
    bad = pod("bad", "irrelevant", hostNetwork=True)
    bad["metadata"]["namespace"] = "web"
    with pytest.raises(DevclusterError, match="violates PodSecurity"):
        web.kubectl.apply([bad])


def test_a_pod_finds_a_service_by_its_short_name(web: Cluster) -> None:
    assert probe(web, "web", "client", "get", "http://server/greeting") == "hello /greeting"


def test_this_machine_reaches_a_service_by_its_cluster_address(web: Cluster) -> None:
    address = web.kubectl.get("service", "server", "-n", "web")["spec"]["clusterIP"]
    with urllib.request.urlopen(f"http://{address}/host", timeout=5) as answer:
        assert answer.read() == b"hello /host"


def test_a_pod_reaches_the_api_server(web: Cluster) -> None:
    probe(web, "web", "client", "dial", "kubernetes.default.svc:443")


def test_a_pod_reaches_a_server_of_this_machine_by_name(web: Cluster) -> None:
    class Greeting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"from the host")

    with HTTPServer((str(web.addresses.host), 0), Greeting) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        url = f"http://{HOST_NAME}:{server.server_port}/"
        assert probe(web, "web", "client", "get", url) == "from the host"


def test_a_pod_cannot_leave_this_machine(web: Cluster) -> None:
    with pytest.raises(DevclusterError, match=r"network is unreachable|no route to host"):
        probe(web, "web", "client", "dial", ELSEWHERE)


def test_a_name_of_the_world_does_not_exist(web: Cluster) -> None:
    with pytest.raises(DevclusterError, match="no such host"):
        probe(web, "web", "client", "resolve", "example.com.")


def ingress_policy(name: str, ingress: list[Manifest]) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "guarded"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "server"}},
            "policyTypes": ["Ingress"],
            "ingress": ingress,
        },
    }


def test_a_network_policy_denies_all_but_the_pods_it_names(cluster: Cluster, probe_image: ProbeImage) -> None:
    pods = [pod(name, probe_image.name) for name in ("server", "friend", "stranger")]
    run_ready(cluster, "guarded", *pods, service("server"))

    def reaches(client: str) -> bool:
        return succeeds(lambda: probe(cluster, "guarded", client, "get", "http://server/"))

    assert reaches("friend")
    cluster.kubectl.apply([ingress_policy("deny-all", [])])
    await_value(lambda: True if not reaches("friend") else None, POLICY_SECONDS, "the denial")
    allowed = [{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}]}]
    cluster.kubectl.apply([ingress_policy("allow-friend", allowed)])
    await_value(lambda: True if reaches("friend") else None, POLICY_SECONDS, "the permission")
    assert not reaches("stranger")
    cluster.kubectl.run("-n", "guarded", "wait", "pod/server", "--for=condition=Ready", "--timeout=1s")


def claim(mode: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "shared"},
        "spec": {"accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}},
    }


def test_two_pods_share_a_claim_and_its_folder_goes_with_it(
    cluster: Cluster, probe_image: ProbeImage
) -> None:
    volumes = {
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "shared"}}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    pods = [pod(name, probe_image.name, **volumes) for name in ("writer", "reader")]
    run_ready(cluster, "stored", claim("ReadWriteMany"), *pods)
    probe(cluster, "stored", "writer", "write", "/data/note", "kept")
    assert probe(cluster, "stored", "reader", "read", "/data/note") == "kept"
    volume = cluster.kubectl.get("pvc", "shared", "-n", "stored")["spec"]["volumeName"]
    folder = cluster.layout.volumes / volume
    assert (folder / "note").read_text() == "kept"
    cluster.kubectl.run("delete", "namespace", "stored", "--wait")
    await_value(lambda: True if not folder.exists() else None, RELEASE_SECONDS, f"the removal of {folder}")


def gpu_pod(name: str, image: str, gpus: int) -> Manifest:
    limits = {"limits": {"nvidia.com/gpu": str(gpus)}}
    tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    selector = {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    return pod(name, image, resources=limits, tolerations=tolerations, nodeSelector=selector)


def test_a_gpu_pod_runs_on_the_simulated_node_until_its_gpus_are_taken(
    cluster: Cluster, probe_image: ProbeImage
) -> None:
    kubectl = cluster.kubectl
    run_ready(cluster, "accelerated", gpu_pod("first", probe_image.name, gpus=2))
    first = kubectl.get("pod", "first", "-n", "accelerated")
    assert first["spec"]["nodeName"] == "own-nvidia-l4"
    second = gpu_pod("second", probe_image.name, gpus=1)
    second["metadata"]["namespace"] = "accelerated"
    kubectl.apply([second])
    kubectl.run(
        "-n", "accelerated", "wait", "pod/second", "--for=condition=PodScheduled=False", "--timeout=30s"
    )
    conditions = kubectl.get("pod", "second", "-n", "accelerated")["status"]["conditions"]
    assert any("Insufficient nvidia.com/gpu" in c.get("message", "") for c in conditions)


def test_the_simulated_node_looks_like_one_of_a_cloud(cluster: Cluster) -> None:
    node = cluster.kubectl.get("node", "own-nvidia-l4")
    assert node["metadata"]["labels"]["nvidia.com/gpu.product"] == "NVIDIA-L4"
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "2"
    assert {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"} in node["spec"]["taints"]
    assert "taints" not in cluster.kubectl.get("node", "own")["spec"]


def test_a_second_up_starts_nothing_and_a_dead_component_comes_back(cluster: Cluster) -> None:
    def pids() -> dict[str, int | None]:
        return {c.name: cluster.machine.pid(c.name) for c in cluster.components()}

    before = pids()
    assert all(before.values())
    cluster.up()
    assert pids() == before
    cluster.machine.terminate("kube-scheduler")
    cluster.up()
    assert {name for name, pid in pids().items() if pid != before[name]} == {"kube-scheduler"}
    assert cluster.machine.is_running("kube-scheduler")


def test_every_write_is_in_the_audit_log_with_its_user(cluster: Cluster) -> None:
    cluster.kubectl.apply([namespace("audited")])
    events = [json.loads(line) for line in cluster.layout.audit_log.read_text().splitlines()]
    written = [e for e in events if e["verb"] == "patch" and e["objectRef"].get("name") == "audited"]
    assert {e["user"]["username"] for e in written} == {"devcluster-admin"}
    assert all(e["userAgent"].startswith("kubectl/v1.36.3") for e in written)


def test_fewer_accelerators_than_running_are_refused(cluster: Cluster) -> None:
    with pytest.raises(DevclusterError, match="nvidia-l4"):
        Cluster(cluster.name, cluster.layout.root, gpus={}).up()
