"""The chart's life around an endpoint that serves: upgrade, downgrade, uninstall, restore.

What is run are the blocks of docs/operations.md that begin with `# tested`, as a reader would run them.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.audit import Audit
from cluster.conftest import OPERATOR_USER, Installed, until
from cluster.endpoint import CONTINUATION, Endpoint, spec
from gemma_devcluster import images, installation
from gemma_devcluster.installation import CHART

ROOT = Path(__file__).resolve().parents[2]
PREVIOUS_CHART = ROOT / "tests" / "data" / "charts" / "gemma-operator-0.1.0-alpha.1.tgz"
"""As it was before anything in it was released; replaced by each release's own when there is one."""
PAGE = (ROOT / "docs" / "operations.md").read_text()
CRD = "gemmadeployments.serving.gemma-operator.dev"


def shell_blocks(heading: str) -> list[str]:
    """Shell blocks under a heading of docs/operations.md that say they are tested."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n# tested\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


USED_BY_HELM_TEST = {(verb, "gemmadeployments") for verb in ("create", "get", "delete")}


class Shell:
    """A reader with kubectl, helm and the page."""

    def __init__(self, installed: Installed, folder: Path) -> None:
        binaries = installed.cluster.binaries.path("kubectl").parent
        self._folder = folder
        self._environment = {
            **os.environ,
            "KUBECONFIG": str(installed.cluster.kubeconfig()),
            "PATH": f"{binaries}:{os.environ['PATH']}",
        }

    def run(self, heading: str, number: int = 0, chart: Path = CHART) -> None:
        block = shell_blocks(heading)[number]
        command = ["bash", "-euo", "pipefail", "-c", block]
        environment = {**self._environment, "CHART": str(chart)}
        done = subprocess.run(
            command, cwd=self._folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"


@pytest.fixture
def shell(installed: Installed, tmp_path: Path) -> Iterator[Shell]:
    """Afterwards the operator is installed as the other tests expect it."""
    yield Shell(installed, tmp_path)
    install(installed)


def install(installed: Installed, *extra: str) -> None:
    installation.install_operator(installed.kubectl, installed.helm, images.build(), extra)


def serving(endpoint: Endpoint) -> list[tuple[str, int]]:
    """(uid, restarts) of the serving pods."""
    return [
        (pod["metadata"]["uid"], sum(status["restartCount"] for status in pod["status"]["containerStatuses"]))
        for pod in endpoint.pods()
    ]


def left_behind(installed: Installed) -> list[str]:
    """Objects of the release, of any kind and in any namespace, that exist although it was uninstalled."""
    kinds = installed.kubectl.run("api-resources", "--verbs=list,delete", "-o", "name").split()
    selector = f"app.kubernetes.io/instance={installation.RELEASE}"
    found = installed.kubectl.get(",".join(kinds), "--all-namespaces", "-l", selector)["items"]
    return [f"{item['kind']}/{item['metadata']['name']}" for item in found if item["metadata"]["name"] != CRD]


def fields(installed: Installed) -> set[str]:
    """Of a GemmaDeployment's spec, as the CRD in the cluster has them."""
    [version] = installed.kubectl.get("crd", CRD)["spec"]["versions"]
    return set(version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"])


def test_serving_outlives_upgrade_downgrade_and_uninstall(
    installed: Installed, endpoint: Endpoint, shell: Shell
) -> None:
    endpoint.apply(spec())
    endpoint.wait("Ready")
    before = serving(endpoint)
    assert len(before) == 1

    newest = fields(installed)
    shell.run("Upgrade", chart=PREVIOUS_CHART)
    assert serving(endpoint) == before
    older = fields(installed)
    assert older < newest
    shell.run("Upgrade")
    assert serving(endpoint) == before
    assert fields(installed) == newest
    shell.run("Downgrade")
    assert serving(endpoint) == before
    assert fields(installed) == older
    assert left_behind(installed), "what the release made is found, while it is there"
    shell.run("Uninstall")
    until(lambda: left_behind(installed) == [], "the release's objects to go")
    assert serving(endpoint) == before
    assert CONTINUATION in endpoint.complete()
    assert endpoint.manifest()["status"]["ready"] == "1/1"

    install(installed)
    endpoint.wait("Ready")
    installed.wait_resynced()
    assert serving(endpoint) == before


def test_everything_goes_with_the_operator_gone_and_comes_back_from_the_backup(
    installed: Installed, endpoint: Endpoint, shell: Shell
) -> None:
    endpoint.apply(spec(suspend=True))
    endpoint.wait_reason("PodsReady", "Suspended")
    until(lambda: names(installed) == [endpoint.name], "the endpoints of other tests to go")
    shell.run("Backup and restore")
    shell.run("Uninstall")
    shell.run("Uninstall", number=1)
    endpoint.wait_no_children()
    assert CRD not in installed.kubectl.run("get", "crd", "-o", "name")

    install(installed, "tests.waitFor=Planned")
    release = (installation.RELEASE, "--namespace", installation.OPERATOR_NAMESPACE)
    audit = Audit.from_now(installed.audit_log, f"{OPERATOR_USER}-test")
    assert "Succeeded" in installed.helm.run("test", *release, "--timeout", "120s")
    assert names(installed) == []
    assert audit.requests().keys() == USED_BY_HELM_TEST, "all that it is granted, and nothing else"
    shell.run("Backup and restore", number=1)
    endpoint.wait_reason("PodsReady", "Suspended")
    assert endpoint.manifest()["spec"]["suspend"] is True


def names(installed: Installed) -> list[str]:
    items = installed.kubectl.get("gemmadeployments", "--all-namespaces")["items"]
    return [item["metadata"]["name"] for item in items]
