"""The built kubectl against one kubeconfig, without the user's own configuration or caches."""

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma_devcluster.errors import DevclusterError


@dataclass(frozen=True)
class Kubectl:
    """kubectl as one user of one cluster."""

    program: Path
    kubeconfig: Path

    def run(self, *arguments: str, stdin: str = "") -> str:
        """What kubectl prints.

        Raises:
            DevclusterError: kubectl failed; its words are in the message.
        """
        done = subprocess.run(
            [str(self.program), *arguments],
            env={
                **os.environ,
                "KUBECONFIG": str(self.kubeconfig),
                "KUBECACHEDIR": str(self.kubeconfig.parent / "kube"),
            },
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DevclusterError(f"`kubectl {' '.join(arguments)}` failed:\n    {done.stderr.strip()}")
        return done.stdout

    def get(self, *arguments: str) -> dict[str, Any]:
        """One object or list as parsed JSON."""
        parsed: dict[str, Any] = json.loads(self.run("get", *arguments, "-o", "json"))
        return parsed

    def apply(self, manifests: Iterable[Mapping[str, Any]]) -> None:
        """Server-side apply, so that a second `up` changes nothing."""
        content = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})
        self.run(
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager=devcluster",
            "-f",
            "-",
            stdin=content,
        )
