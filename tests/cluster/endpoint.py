"""One GemmaDeployment in a cluster test: how to write it, wait for it and ask it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from gemma_devcluster.errors import DevclusterError
from gemma_devcluster.kubectl import Kubectl

READY_SECONDS = 240
"""A pod loads the 270M model in seconds; two cores shared with everything else stretch that."""
CHANGE_SECONDS = 120
PROMPT = "Kubernetes is an open-source system for"
CONTINUATION = "container"
"""How the pre-trained 270M goes on, greedily."""

SMALL_HARDWARE = {"cpu": "500m"}
"""Lets a surging pod fit beside the running ones on a two-core node."""


def spec(**changes: Any) -> dict[str, Any]:
    """The smallest endpoint that fits several times on the test node."""
    return {
        "model": {"variant": "gemma-3-270m", "contextLength": 1024},
        "hardware": dict(SMALL_HARDWARE),
        "capacity": {"requestTimeoutSeconds": 60},
        **changes,
    }


@dataclass(frozen=True)
class Endpoint:
    """A GemmaDeployment by name."""

    cluster: Kubectl
    namespace: str
    name: str

    def apply(self, body: dict[str, Any]) -> None:
        manifest = {
            "apiVersion": "serving.gemma-operator.dev/v1alpha1",
            "kind": "GemmaDeployment",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": body,
        }
        self.cluster.apply([manifest])

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.run("-n", self.namespace, *arguments)

    def wait(self, condition: str, seconds: int = READY_SECONDS) -> None:
        """Until the condition (`Ready`, `Ready=False`, …) holds; the API server's watch, not polling."""
        self._wait(f"condition={condition}", seconds)

    def wait_reason(self, condition: str, reason: str, seconds: int = CHANGE_SECONDS) -> None:
        path = f'{{.status.conditions[?(@.type=="{condition}")].reason}}'
        self._wait(f"jsonpath={path}={reason}", seconds)

    def wait_adapter(self, name: str, state: str, seconds: int = CHANGE_SECONDS) -> None:
        """Until the status says so of the adapter."""
        self._wait(f'jsonpath={{.status.adapters[?(@.name=="{name}")].state}}={state}', seconds)

    def wait_observed(self, seconds: int = CHANGE_SECONDS) -> None:
        """Until the operator has judged the newest generation."""
        generation = self.manifest()["metadata"]["generation"]
        self._wait(f"jsonpath={{.status.observedGeneration}}={generation}", seconds)

    def _wait(self, what: str, seconds: int) -> None:
        try:
            self.kubectl("wait", f"gemmadeployment/{self.name}", f"--for={what}", f"--timeout={seconds}s")
        except DevclusterError as error:
            status = json.dumps(self.manifest().get("status"), indent=1)
            pods = self.kubectl("get", "pods,jobs,events")
            raise AssertionError(f"{error}\n{status}\n{pods}") from error

    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.get("gemmadeployment", self.name, "-n", self.namespace)
        return found

    def condition(self, kind: str) -> dict[str, Any]:
        conditions: list[dict[str, Any]] = self.manifest()["status"]["conditions"]
        return next(c for c in conditions if c["type"] == kind)

    def pods(self) -> list[dict[str, Any]]:
        """Serving pods that are not being deleted, oldest first."""
        selector = self.manifest()["status"]["selector"]
        items: list[dict[str, Any]] = self.cluster.get("pods", "-n", self.namespace, "-l", selector)["items"]
        living = [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]
        return sorted(living, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def pod_names(self) -> set[str]:
        return {pod["metadata"]["name"] for pod in self.pods()}

    def wait_gone(self, pods: set[str]) -> None:
        """Until none of these pods exists any more."""
        names = [f"pod/{name}" for name in sorted(pods)]
        self.kubectl("wait", *names, "--for=delete", f"--timeout={CHANGE_SECONDS}s")

    def wait_no_children(self) -> None:
        """Until the garbage collector has removed everything."""
        for child in self.children():
            self.kubectl("wait", child, "--for=delete", f"--timeout={CHANGE_SECONDS}s")
        assert self.children() == []

    def restarts(self, pod: str, container: str) -> int:
        statuses = self.cluster.get("pod", pod, "-n", self.namespace)["status"]["containerStatuses"]
        return int(next(status["restartCount"] for status in statuses if status["name"] == container))

    def served(self, pod: dict[str, Any]) -> float:
        """Requests that this pod finished well, from its own metrics page."""
        page = httpx.get(f"http://{pod['status']['podIP']}:9090/metrics", trust_env=False).text
        samples = [s for family in text_string_to_metric_families(page) for s in family.samples]
        return sum(
            s.value for s in samples if s.name == "gemma_requests_total" and s.labels["outcome"] == "success"
        )

    def children(self) -> list[str]:
        """`kind/name` of everything that carries our owner reference, pods included."""
        kinds = "all,configmap,serviceaccount,pdb,networkpolicy,pvc,job"
        items = self.cluster.get(kinds, "-n", self.namespace)["items"]
        found = [
            f"{item['kind']}/{item['metadata']['name']}"
            for item in items
            if any(owner["name"] == self.name for owner in item["metadata"].get("ownerReferences", []))
            or item["metadata"].get("labels", {}).get("app.kubernetes.io/instance") == self.name
        ]
        return sorted(set(found))

    def url(self) -> str:
        """The Service's cluster address, which this machine routes to."""
        service = self.cluster.get("service", self.name, "-n", self.namespace)
        return f"http://{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}"

    def complete(self, prompt: str = PROMPT, max_tokens: int = 12, adapter: str | None = None) -> str:
        """One streamed completion over a connection of its own; raises on anything but a whole stream."""
        return "".join(self.stream(prompt, max_tokens, adapter))

    def stream(self, prompt: str = PROMPT, max_tokens: int = 12, adapter: str | None = None) -> Iterator[str]:
        body = {
            "model": self.name if adapter is None else f"{self.name}:{adapter}",
            "prompt": prompt,
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
        }
        with (
            httpx.Client(timeout=60, trust_env=False) as client,
            client.stream("POST", f"{self.url()}/v1/completions", json=body) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise AssertionError(f"{answer.status_code}: {answer.read().decode()}")
            done = False
            for line in answer.iter_lines():
                if line == "data: [DONE]":
                    done = True
                elif line.startswith("data: "):
                    chunk = json.loads(line.removeprefix("data: "))
                    if "error" in chunk:
                        raise AssertionError(f"error inside the stream: {chunk['error']}")
                    yield from (choice["text"] for choice in chunk["choices"])
            if not done:
                raise AssertionError("the stream ended without [DONE]")
