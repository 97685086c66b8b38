"""The chart renders what its values say, and refuses values it does not know."""

import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from chart.conftest import CHART, Render
from gemma_operator.api.manifest import ROLE_LABEL, SERVING
from gemma_operator.kube.kinds import rbac_rules
from gemma_operator.resources.layout import ADMIN_PORT
from gemma_operator.settings import parse_settings

pytestmark = pytest.mark.cluster

KUBERNETES = "1.36"
SHAPES = sorted(CHART.glob("ci/*-values.yaml"))


def of_kind(documents: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Of what stays in the cluster; hooks have their own tests."""
    return [d for d in documents if d["kind"] == kind and not is_hook(d)]


def is_hook(document: dict[str, Any]) -> bool:
    return "helm.sh/hook" in document["metadata"].get("annotations", {})


def hooks(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Kind to object of `helm test`."""
    return {document["kind"]: document for document in documents if is_hook(document)}


def test_lint_is_strict(helm: Path) -> None:
    done = subprocess.run([helm, "lint", "--strict", CHART], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("values", SHAPES, ids=lambda path: path.stem)
def test_every_shape_renders_valid_objects(render: Render, values: Path) -> None:
    documents = render("-f", str(values))
    assert of_kind(documents, "Deployment")
    for document in documents:
        # Definitions, and what they define, are held to their own schemas elsewhere.
        is_defined = any(group in document["apiVersion"] for group in ("monitoring", "gateway"))
        if document["kind"] != "CustomResourceDefinition" and not is_defined:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize("values", SHAPES, ids=lambda path: path.stem)
def test_every_shape_gives_the_operator_settings_it_accepts(render: Render, values: Path) -> None:
    [settings] = [m for m in of_kind(render("-f", str(values)), "ConfigMap") if "settings.yaml" in m["data"]]
    given = yaml.safe_load(values.read_text()) or {}
    parsed = parse_settings(settings["data"]["settings.yaml"])
    assert list(parsed.watch_namespaces) == given.get("watchNamespaces", [])
    assert parsed.images.gateway.startswith(
        given.get("images", {}).get("registry", "localhost/gemma-operator")
    )
    hub = given.get("hub", {})
    assert parsed.hugging_face_endpoint == hub.get("endpoint", "https://huggingface.co")
    assert parsed.egress.proxy == hub.get("proxy")
    bundle = parsed.egress.ca_bundle
    assert (bundle and bundle.config_map) == hub.get("caBundle", {}).get("configMap")


@pytest.mark.parametrize(
    "pair",
    [
        "image.tag=1",
        "images.oprator.tag=1",
        "crds.instal=true",
        "replica=2",
        "hub.url=x",
        "tests.spek=x",
        "networkPolicy.defaultdeny=true",
    ],
)
def test_unknown_values_are_refused_by_name(render: Render, pair: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        render("--set", pair)
    unknown = pair.partition("=")[0].split(".")
    assert any(part in refused.value.stderr for part in unknown)


def test_a_digest_wins_over_a_tag(render: Render) -> None:
    digest = "sha256:" + "a" * 64
    [deployment] = of_kind(
        render("--set", f"images.operator.tag=1.2.3,images.operator.digest={digest}"), "Deployment"
    )
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"localhost/gemma-operator/operator@{digest}"


def test_namespaced_mode_grants_nothing_cluster_wide_but_reading_nodes(render: Render) -> None:
    documents = render("--set", "watchNamespaces={team-a,team-b}")
    [cluster_role] = of_kind(documents, "ClusterRole")
    assert cluster_role["rules"] == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"]}]
    assert [role["metadata"]["namespace"] for role in of_kind(documents, "Role")] == ["team-a", "team-b"]


def test_the_grants_are_those_the_operator_states(render: Render) -> None:
    [role] = of_kind(render(), "ClusterRole")
    assert _pairs(role["rules"]) == _pairs(rbac_rules())


def _pairs(rules: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_no_grant_has_a_wildcard_or_lists_secrets(render: Render) -> None:
    for document in render():
        for rule in document.get("rules", []):
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
            assert "secrets" not in rule["resources"]


def test_the_crd_can_be_left_out_and_is_kept_by_default(render: Render) -> None:
    [crd] = of_kind(render(), "CustomResourceDefinition")
    assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert of_kind(render("--set", "crds.enabled=false"), "CustomResourceDefinition") == []
    [crd] = of_kind(render("--set", "crds.keep=false"), "CustomResourceDefinition")
    assert "helm.sh/resource-policy" not in crd["metadata"].get("annotations", {})


def test_the_operator_pod_meets_pod_security_restricted(render: Render) -> None:
    [deployment] = of_kind(render(), "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}


def test_a_catalogue_overlay_is_mounted_and_read(render: Render) -> None:
    [deployment] = of_kind(render("--set", "catalogOverlay=team-catalogue"), "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert "--catalog-overlay=/etc/gemma-catalog" in pod["containers"][0]["args"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["catalog"]["configMap"] == {"name": "team-catalogue", "optional": True}
    kubernetes_validate.validate(deployment, KUBERNETES, strict=True)
    [plain] = of_kind(render(), "Deployment")
    assert not any(
        "catalog" in argument for argument in plain["spec"]["template"]["spec"]["containers"][0]["args"]
    )


def test_one_replica_needs_no_lease(render: Render) -> None:
    documents = render()
    [deployment] = of_kind(documents, "Deployment")
    assert deployment["spec"]["strategy"]["type"] == "Recreate"
    assert not any("--lease" in argument for argument in operator_arguments(deployment))
    assert "leases" not in str(of_kind(documents, "Role"))


def test_several_replicas_take_turns_by_a_lease_they_may_write(render: Render) -> None:
    documents = render("--set", "replicas=2")
    [deployment] = of_kind(documents, "Deployment")
    assert deployment["spec"]["replicas"] == 2
    [lease] = [argument for argument in operator_arguments(deployment) if argument.startswith("--lease=")]
    namespace, name = lease.removeprefix("--lease=").split("/")
    [role] = [role for role in of_kind(documents, "Role") if "leases" in str(role)]
    assert role["metadata"]["namespace"] == namespace
    assert [rule.get("resourceNames") for rule in role["rules"]] == [None, [name]]


def operator_arguments(deployment: dict[str, Any]) -> list[str]:
    arguments: list[str] = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    return arguments


def test_every_object_says_whose_it_is(render: Render) -> None:
    documents = render("--set", "replicas=2,commonLabels.owner=platform,commonAnnotations.contact=me")
    for document in documents:
        labels = document["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "release", document["kind"]
        if not is_hook(document):
            assert labels["owner"] == "platform", document["kind"]
    for kind in ("Deployment", "ServiceAccount", "ClusterRole", "NetworkPolicy", "PodDisruptionBudget"):
        for document in of_kind(documents, kind):
            assert document["metadata"]["annotations"]["contact"] == "me", kind


def test_the_operator_is_ready_when_it_follows_everything(render: Render) -> None:
    [deployment] = of_kind(render(), "Deployment")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "health"}
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_the_operators_pod_reaches_dns_the_api_server_and_the_admin_port_of_serving_pods_only(
    render: Render,
) -> None:
    documents = render("--set", "networkPolicy.apiServerPorts={6443}")
    [policy] = of_kind(documents, "NetworkPolicy")
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert [rule["ports"] for rule in policy["spec"]["ingress"]] == [[{"port": "metrics", "protocol": "TCP"}]]
    egress = policy["spec"]["egress"]
    assert {port["port"] for rule in egress for port in rule["ports"] if "to" not in rule} == {53, 6443}
    [serving] = [rule for rule in egress if "to" in rule]
    assert serving["ports"] == [{"port": ADMIN_PORT, "protocol": "TCP"}]
    [pods] = serving["to"]
    assert pods["podSelector"]["matchLabels"] == {ROLE_LABEL: SERVING}


@pytest.mark.parametrize(
    ("url", "port"), [("http://prometheus.monitoring:9091", 9091), ("https://prometheus.example", 443)]
)
def test_the_operators_pod_reaches_the_prometheus_that_it_has_to_ask(
    render: Render, url: str, port: int
) -> None:
    [policy] = of_kind(render("--set", f"settings.scaling.prometheusUrl={url}"), "NetworkPolicy")
    assert [{"port": port, "protocol": "TCP"}] in [rule["ports"] for rule in policy["spec"]["egress"]]


def test_default_deny_takes_every_pod_of_the_namespace(render: Render) -> None:
    documents = render("--set", "networkPolicy.defaultDeny=true")
    deny = next(p for p in of_kind(documents, "NetworkPolicy") if p["metadata"]["name"].endswith("deny"))
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_a_disruption_budget_comes_with_a_second_replica(render: Render) -> None:
    assert of_kind(render(), "PodDisruptionBudget") == []
    [budget] = of_kind(render("--set", "replicas=2"), "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1


def test_somebody_else_may_grant(render: Render) -> None:
    documents = render("--set", "rbac.create=false,tests.enabled=false")
    assert [d["kind"] for d in documents if d["apiVersion"].startswith("rbac.")] == []


def test_helm_test_plans_and_applies_a_tiny_endpoint(render: Render) -> None:
    made = hooks(render("--set", "watchNamespaces={team-a},tests.waitFor=Planned"))
    pod, role = made["Pod"], made["Role"]
    assert pod["spec"]["initContainers"][0]["args"][0] == "plan"
    assert "--wait-for=Planned" in pod["spec"]["containers"][0]["args"]
    endpoint = yaml.safe_load(made["ConfigMap"]["data"]["endpoint.json"])
    assert endpoint["metadata"]["namespace"] == role["metadata"]["namespace"] == "team-a"
    assert role["rules"][1]["resourceNames"] == [endpoint["metadata"]["name"]]
    # The operator makes a service account of the endpoint's name; the test's own would be in its way.
    assert endpoint["metadata"]["name"] != made["ServiceAccount"]["metadata"]["name"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True


def test_helm_test_can_be_left_out(render: Render) -> None:
    assert hooks(render("--set", "tests.enabled=false")) == {}


def test_the_notes_end_with_three_commands(helm: Path) -> None:
    command = [helm, "install", "release", CHART, "--dry-run=client", "--namespace", "gemma-system"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    notes = text.partition("NOTES:")[2]
    assert [line.strip()[:4] for line in notes.splitlines() if line.strip().startswith("# ")] == [
        "# 1.", "# 2.", "# 3.",
    ]  # fmt: skip
    assert notes.count("kubectl get gemma assistant") == 1
