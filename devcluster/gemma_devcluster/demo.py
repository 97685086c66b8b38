"""`devcluster demo`: from nothing to an answer of the real Gemma 3 270M out of a real Kubernetes."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gemma_devcluster import builder, images, installation
from gemma_devcluster.cluster import Cluster
from gemma_devcluster.errors import DevclusterError
from gemma_devcluster.images import Image
from gemma_devcluster.images.recipes import REPOSITORY_ROOT
from gemma_devcluster.installation import Helm
from gemma_devcluster.kubectl import Kubectl
from gemma_devcluster.toolsets import CLUSTER_TOOL_SETS

NAMESPACE = "demo"
EXAMPLE = REPOSITORY_ROOT / "examples" / "quickstart.yaml"
NAME = "quickstart"
PROMPT = "Kubernetes is an open-source system for"
"""The weights are pre-trained, not chat-tuned: they continue a text, so this is the beginning of one."""
MAX_TOKENS = 33
READY_TIMEOUT = "300s"
LOCAL_PORT = 18080
ANSWER_SECONDS = 120.0


@dataclass
class Narrator:
    """Says what is happening and how long the whole has taken."""

    begun: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """Print one line, at once, with the seconds so far."""
        print(f"[{time.monotonic() - self.begun:5.0f} s] {text}", flush=True)


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `demo` to the command line."""
    parser = commands.add_parser("demo", help="a cluster, the operator and an answer from Gemma 3 270M")
    parser.add_argument("--name", default="gemma", help="cluster name (default: %(default)s)")
    parser.add_argument("--down", action="store_true", help="remove what the demo made")
    parser.set_defaults(command=lambda arguments: _down(arguments) if arguments.down else _up(arguments))


def _up(arguments: argparse.Namespace) -> int:
    narrator = Narrator()
    elsewhere = os.environ.get("KUBECONFIG")
    if elsewhere:
        narrator.say(f"KUBECONFIG is set: using the cluster of {elsewhere}, building images only")
        kubectl, helm, built = _on_existing(Path(elsewhere), narrator)
    else:
        kubectl, helm, built = _on_devcluster(arguments.name, narrator)
    narrator.say("installing the weights mirror and the operator's chart")
    installation.install_mirror(kubectl, built["weights-mirror"])
    installation.install_operator(kubectl, helm, built)
    narrator.say(
        f"applying {EXAMPLE.relative_to(REPOSITORY_ROOT)} in namespace {NAMESPACE} (Pod Security: restricted)"
    )
    print(
        "\n".join(f"    {line}" for line in EXAMPLE.read_text().splitlines() if not line.startswith("#")),
        flush=True,
    )
    kubectl.apply([installation.namespace(NAMESPACE)])
    kubectl.run("-n", NAMESPACE, "apply", "--server-side", "-f", str(EXAMPLE))
    _await_ready(kubectl, narrator)
    answer(kubectl, narrator)
    _how_to_reach(kubectl, devcluster=None if elsewhere else arguments.name)
    return 0


def _on_devcluster(name: str, narrator: Narrator) -> tuple[Kubectl, Helm, dict[str, Image]]:
    narrator.say(
        "building Kubernetes and the images (a fresh machine needs about 20 minutes; then all is cached)"
    )
    cluster = Cluster(name)
    # Go uses the cores while the images wait for downloads.
    with ThreadPoolExecutor(max_workers=1) as pool:
        building = pool.submit(images.build)
        builder.ensure(CLUSTER_TOOL_SETS)
        built = building.result()
    narrator.say("starting the cluster")
    cluster.up()
    kubectl = cluster.kubectl
    narrator.say("loading images")
    for image in built.values():
        if not installation.image_is_present(kubectl, image.reference):
            cluster.load_image(image.archive)
    return kubectl, Helm(cluster.binaries.path("helm"), cluster.kubeconfig()), built


def _on_existing(kubeconfig: Path, narrator: Narrator) -> tuple[Kubectl, Helm, dict[str, Image]]:
    programs = {name: shutil.which(name) for name in ("kubectl", "helm")}
    absent = [name for name, path in programs.items() if path is None]
    if absent:
        raise DevclusterError(
            f"needs {' and '.join(absent)} on PATH to use the cluster of KUBECONFIG; install them"
        )
    kubectl = Kubectl(Path(str(programs["kubectl"])), kubeconfig)
    context = kubectl.run("config", "current-context").strip()
    kind = shutil.which("kind")
    if not context.startswith("kind-") or kind is None:
        raise DevclusterError(
            f"context {context} is not a kind cluster (or `kind` is not on PATH); other clusters get images "
            "through a registry only\n  do: unset KUBECONFIG for a cluster on this machine,\n"
            "      or push the images of `devcluster images build` and install the chart as its README says"
        )
    built = images.build()
    for image in built.values():
        narrator.say(f"kind load {image.name}")
        command = [kind, "load", "image-archive", str(image.archive), "--name", context.removeprefix("kind-")]
        subprocess.run(command, check=True)
    return kubectl, Helm(Path(str(programs["helm"])), kubeconfig), built


def _await_ready(kubectl: Kubectl, narrator: Narrator) -> None:
    """Follow `status.summary` until Ready; a failure shows the whole status."""
    command = [
        "-n",
        NAMESPACE,
        "get",
        "gemmadeployment",
        NAME,
        "-w",
        "-o",
        "jsonpath={.status.summary}{'\\n'}",
    ]
    with _kubectl(kubectl, *command) as watch, ThreadPoolExecutor(max_workers=1) as pool:
        waiting = pool.submit(
            kubectl.run,
            *("-n", NAMESPACE, "wait", f"gemmadeployment/{NAME}", "--for=condition=Ready"),
            f"--timeout={READY_TIMEOUT}",
        )
        waiting.add_done_callback(lambda _: watch.terminate())
        said = ""
        for line in watch.stdout or ():
            if line.strip() and line != said:
                narrator.say(line.strip())
                said = line
        try:
            waiting.result()
        except DevclusterError as error:
            status = kubectl.run("-n", NAMESPACE, "describe", "gemmadeployment", NAME)
            raise DevclusterError(f"{error}\n{status}") from error


def answer(kubectl: Kubectl, narrator: Narrator) -> None:
    """Stream one completion through the Service and print it as it comes."""
    narrator.say("asking Gemma through POST /v1/completions, streamed")
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    with _forwarded(kubectl) as url:
        print(f"\n    {PROMPT}{bold}", end="", flush=True)
        for text in _stream(url):
            print(text.replace("\n", "\n    "), end="", flush=True)
        print(f"{plain}\n", flush=True)
    narrator.say("answered")


@contextmanager
def _forwarded(kubectl: Kubectl) -> Iterator[str]:
    """The Service's address on this machine, by kubectl port-forward: works on any cluster."""
    target = (f"service/{NAME}", f"{LOCAL_PORT}:80")
    with _kubectl(kubectl, "-n", NAMESPACE, "port-forward", *target) as forward:
        said = next(iter(forward.stdout or ()), "").strip()
        if "Forwarding" not in said:
            raise DevclusterError(f"kubectl port-forward to service/{NAME} failed: {said}")
        yield f"http://127.0.0.1:{LOCAL_PORT}"


def _stream(url: str) -> Iterator[str]:
    body = {"model": NAME, "prompt": PROMPT, "max_tokens": MAX_TOKENS, "temperature": 0, "stream": True}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/completions", json.dumps(body).encode(), headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=ANSWER_SECONDS) as response:
        yield from _texts(response)


def _texts(response: Iterator[bytes]) -> Iterator[str]:
    for line in response:
        data = line.decode().strip().removeprefix("data: ")
        if data == "[DONE]":
            return
        if data.startswith("{"):
            chunk = json.loads(data)
            if "error" in chunk:
                raise DevclusterError(f"the stream broke off: {chunk['error']['message']}")
            yield from (choice["text"] for choice in chunk["choices"])
    raise DevclusterError("the stream ended without [DONE]; see `kubectl -n demo logs` of the pod")


def _how_to_reach(kubectl: Kubectl, devcluster: str | None) -> None:
    address = kubectl.run("-n", NAMESPACE, "get", "service", NAME, "-o", "jsonpath={.spec.clusterIP}")
    body = {"model": NAME, "prompt": PROMPT, "max_tokens": MAX_TOKENS, "stream": True}
    url = f"http://{address}" if devcluster else f"http://127.0.0.1:{LOCAL_PORT}"
    lines = [
        "The cluster stays up. To look around:",
        "",
        f"    export KUBECONFIG={kubectl.kubeconfig}",
        f"    export PATH={kubectl.program.parent}:$PATH",
        f"    kubectl -n {NAMESPACE} get gemma {NAME} -o yaml",
        *(
            []
            if devcluster
            else [f"    kubectl -n {NAMESPACE} port-forward service/{NAME} {LOCAL_PORT}:80 &"]
        ),
        f"    curl -sN {url}/v1/completions -H 'Content-Type: application/json' \\",
        f"      -d '{json.dumps(body)}'",
        "",
        "To remove everything:  make demo-down",
    ]
    print("\n".join(lines), flush=True)


def _down(arguments: argparse.Namespace) -> int:
    elsewhere = os.environ.get("KUBECONFIG")
    if not elsewhere:
        existed = Cluster(arguments.name).down()
        print(f"cluster {arguments.name} {'is gone' if existed else 'was not there'}; builds stay cached")
        return 0
    kubectl = Kubectl(Path(shutil.which("kubectl") or "kubectl"), Path(elsewhere))
    helm = Helm(Path(shutil.which("helm") or "helm"), Path(elsewhere))
    kubectl.run("delete", "namespace", NAMESPACE, installation.MIRROR_NAMESPACE, "--ignore-not-found")
    helm.run(
        "uninstall",
        installation.RELEASE,
        "--namespace",
        installation.OPERATOR_NAMESPACE,
        "--ignore-not-found",
    )
    kubectl.run("delete", "namespace", installation.OPERATOR_NAMESPACE, "--ignore-not-found")
    kubectl.run("delete", "crd", "gemmadeployments.serving.gemma-operator.dev", "--ignore-not-found")
    print(f"removed the demo from the cluster of {elsewhere}")
    return 0


@contextmanager
def _kubectl(kubectl: Kubectl, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [str(kubectl.program), *arguments],
        env={**os.environ, "KUBECONFIG": str(kubectl.kubeconfig)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
