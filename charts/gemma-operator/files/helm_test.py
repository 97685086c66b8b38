"""`helm test`: applies a GemmaDeployment, waits until it is what it should become, and deletes it again.

Runs in the operator's image with the standard library alone, as the test's own service account.
"""

import argparse
import json
import ssl
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SERVER = "https://kubernetes.default.svc"
EVERY_SECONDS = 2.0
REQUEST_SECONDS = 30.0


def send(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One request to the API server. Raises HTTPError for all but 2xx."""
    token = (ACCOUNT / "token").read_text()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = Request(SERVER + path, data=data, headers=headers, method=method)
    trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urlopen(request, timeout=REQUEST_SECONDS, context=trust) as answer:
        parsed: dict[str, Any] = json.load(answer)
    return parsed


def delete(path: str) -> None:
    """Delete and wait until it is gone; what does not exist is gone."""
    try:
        send("DELETE", path)
        while True:
            send("GET", path)
            time.sleep(EVERY_SECONDS)
    except HTTPError as error:
        if error.code != 404:
            raise


def wait(path: str, wanted: str, seconds: float) -> str:
    """Until the condition is True; returns its message. Raises TimeoutError with the last one."""
    deadline = time.monotonic() + seconds
    said = "the operator has said nothing yet"
    while time.monotonic() < deadline:
        status = send("GET", path).get("status", {})
        summary = str(status.get("summary") or said)
        if any(c["type"] == wanted and c["status"] == "True" for c in status.get("conditions", [])):
            return summary
        if summary != said:
            print(summary, flush=True)
            said = summary
        time.sleep(EVERY_SECONDS)
    raise TimeoutError(f"not {wanted} within {seconds:.0f} s: {said}")


def main() -> int:
    """0: as it should be. 1: it never became so."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--wait-for", default="Ready")
    parser.add_argument("--timeout-seconds", type=float, default=900.0)
    args = parser.parse_args()
    manifest = json.loads(args.manifest.read_text())
    namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
    collection = f"/apis/{manifest['apiVersion']}/namespaces/{namespace}/gemmadeployments"
    one = f"{collection}/{name}"
    delete(one)
    send("POST", collection, manifest)
    try:
        print(wait(one, args.wait_for, args.timeout_seconds))
    except TimeoutError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        delete(one)
    print(f"{namespace}/{name} became {args.wait_for} and is deleted again")
    return 0


if __name__ == "__main__":
    sys.exit(main())
