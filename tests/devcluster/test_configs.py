"""Rendered configuration: the lines without which a node does not start here, or lets traffic out."""

import json
import tomllib
from pathlib import Path

import pytest
import yaml

from gemma_devcluster import configs
from gemma_devcluster.addresses import Addresses
from gemma_devcluster.builder import Binaries
from gemma_devcluster.components import ComponentFactory
from gemma_devcluster.layout import Layout
from gemma_devcluster.nodes import Node, nodes_of

ADDRESSES = Addresses(3)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path, "some")


@pytest.fixture
def factory(layout: Layout) -> ComponentFactory:
    return ComponentFactory(Binaries(Path("/programs")), layout, ADDRESSES)


def test_kubelet_accepts_cgroup_v1_without_systemd(layout: Layout) -> None:
    config = yaml.safe_load(configs.kubelet(Node("some"), layout, ADDRESSES))
    assert config["failCgroupV1"] is False
    assert config["cgroupDriver"] == "cgroupfs"


def test_kubelet_never_collects_images_that_cannot_be_pulled_again(layout: Layout) -> None:
    assert (
        yaml.safe_load(configs.kubelet(Node("some"), layout, ADDRESSES))["imageGCHighThresholdPercent"] == 100
    )


def test_containerd_clamps_oom_scores_and_uses_the_local_sandbox_image(layout: Layout) -> None:
    text = configs.containerd(Node("some"), layout, Path("/programs"), "localhost/pause:1")
    plugins = tomllib.loads(text)["plugins"]
    assert plugins["io.containerd.cri.v1.runtime"]["restrict_oom_score_adj"] is True
    assert plugins["io.containerd.cri.v1.images"]["pinned_images"]["sandbox"] == "localhost/pause:1"


def test_kube_proxy_leaves_the_read_only_conntrack_sysctls_alone(layout: Layout) -> None:
    config = yaml.safe_load(configs.kube_proxy(layout, ADDRESSES, Node("some")))
    assert config["conntrack"] == {
        "maxPerCore": 0,
        "min": 0,
        "tcpEstablishedTimeout": "0s",
        "tcpCloseWaitTimeout": "0s",
    }


def test_the_api_server_finds_kubelets_by_address(factory: ComponentFactory) -> None:
    assert "--kubelet-preferred-address-types=InternalIP" in factory.api_server().command


def test_the_api_server_changes_no_feature_gate_and_is_ready_for_aggregated_apis(
    factory: ComponentFactory,
) -> None:
    flags = " ".join(factory.api_server().command)
    assert "feature-gates" not in flags
    assert "--requestheader-client-ca-file=" in flags
    assert "--proxy-client-cert-file=" in flags


def test_pod_traffic_is_not_masqueraded() -> None:
    bridge = json.loads(configs.cni(ADDRESSES))["plugins"][0]
    assert bridge["ipMasq"] is False
    assert bridge["ipam"]["ranges"] == [[{"subnet": str(ADDRESSES.pods)}]]


def test_every_request_is_audited_once_without_its_body() -> None:
    policy = yaml.safe_load(configs.audit_policy())
    assert policy["rules"] == [{"level": "Metadata"}]
    assert policy["omitStages"] == ["RequestReceived"]


def test_nodes_of_one_cluster_share_no_port_socket_folder_or_cgroup(layout: Layout) -> None:
    nodes = nodes_of("some", {"nvidia-l4": 4, "nvidia-b200": 8})
    for attribute in ("name", "kubelet_port", "health_port", "runtime_socket", "cgroup"):
        assert len({getattr(node, attribute) for node in nodes}) == len(nodes), attribute
    assert len({node.content(layout) for node in nodes}) == len(nodes)


def test_every_path_a_component_writes_lies_in_the_cluster_state_or_its_private_run(
    factory: ComponentFactory, layout: Layout
) -> None:
    for node in nodes_of("some", {"nvidia-l4": 1}):
        toml = tomllib.loads(configs.containerd(node, layout, Path("/programs"), "localhost/pause:1"))
        assert toml["root"].startswith(str(layout.state))
        assert toml["state"].startswith("/run/")
        kubelet = yaml.safe_load(configs.kubelet(node, layout, ADDRESSES))
        assert kubelet["podLogsDir"].startswith(str(layout.state))
        assert f"--root-dir={node.kubelet_root(layout)}" in factory.kubelet(node).command
