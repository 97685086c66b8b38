"""The Google identity of a pod: what the metadata server of its node answers for its ServiceAccount."""

import os
import socket
import time
from collections.abc import Callable

import httpx2

from gemma_serving.weights.outcome import SourceUnavailableError

METADATA_HOST = "metadata.google.internal"
HTTP_PORT = 80
TIMEOUT_SECONDS = 5.0
"""The server is on the pod's own node."""
RENEWAL_SECONDS = 240.0
"""Before a token ends. The server gives out another one in its last five minutes."""
SERVER_ERRORS = 500
_TOKEN_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"


class GoogleIdentity:
    """Access tokens, renewed before they end: a fetch may take longer than the hour that one lasts.

    Args:
        host: the metadata server, with a port where it is not 80.
        clock: monotonic seconds.
    """

    def __init__(self, host: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._host = host
        self._clock = clock
        self._token: str | None = None
        self._renewed_at = float("-inf")
        self.lack: str | None = None
        """Why there is no identity; None where there is one, or before anybody asked."""

    def token(self) -> str | None:
        """A token that is good for the next request; None where the pod has no identity.

        Raises:
            SourceUnavailableError: there is a metadata server, and it does not answer; in a pod's first
                seconds it may not.
        """
        if self._clock() >= self._renewed_at:
            self._ask()
        return self._token

    def _ask(self) -> None:
        if not _is_known(self._host):
            self._lacks("there is no metadata server")
            return
        try:
            response = httpx2.get(
                f"http://{self._host}{_TOKEN_PATH}",
                headers={"Metadata-Flavor": "Google"},
                timeout=TIMEOUT_SECONDS,
                # Through a proxy it would be the identity of the proxy.
                trust_env=False,
            )
        except httpx2.HTTPError as error:
            raise SourceUnavailableError(f"the metadata server: {type(error).__name__}") from error
        if response.status_code >= SERVER_ERRORS:
            raise SourceUnavailableError(f"the metadata server answered {response.status_code}")
        if response.is_error:
            self._lacks(f"the metadata server answered {response.status_code}")
            return
        answer = response.json()
        self._token, self.lack = str(answer["access_token"]), None
        self._renewed_at = self._clock() + max(0.0, float(answer["expires_in"]) - RENEWAL_SECONDS)

    def _lacks(self, why: str) -> None:
        self._token, self.lack, self._renewed_at = None, why, float("inf")


def identity_of_this_pod() -> GoogleIdentity:
    """The one that Google's own clients would find."""
    return GoogleIdentity(os.environ.get("GCE_METADATA_HOST") or METADATA_HOST)


def _is_known(host: str) -> bool:
    name, _, port = host.partition(":")
    try:
        return bool(socket.getaddrinfo(name, int(port or HTTP_PORT), type=socket.SOCK_STREAM))
    except socket.gaierror:
        return False
