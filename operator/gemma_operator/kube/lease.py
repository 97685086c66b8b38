"""The right to write, held by one process at a time: a Lease, as the controllers of Kubernetes itself use it.

The client library's own leader election ends at the first connection error; this one tries on. Like client-go
it trusts only its own clock: a Lease has expired when it was not seen to change for long.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from gemma_operator.api.manifest import Manifest
from gemma_operator.kube.apiserver import ApiServer, Request
from gemma_operator.kube.errors import ClusterError, ConflictError, NotFoundError, UnavailableError

LEASE_SECONDS = 10
"""Without a sign of life from the holder for so long, another takes over: within 15 s with the retries."""
RENEW_DEADLINE_SECONDS = 7.0
"""A holder that could not renew for so long stops writing: well before anybody may take over."""
RETRY_SECONDS = 2.0

logger = logging.getLogger(__name__)


class LeaseNameError(ValueError):
    """Not NAMESPACE/NAME."""


class LeaseLostError(ClusterError):
    """Somebody else may write now."""


@dataclass(frozen=True, slots=True)
class LeaseName:
    """Where the Lease is."""

    namespace: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "LeaseName":
        """Read `NAMESPACE/NAME`. Raises LeaseNameError."""
        namespace, separator, name = text.partition("/")
        if not (namespace and separator and name) or "/" in name:
            raise LeaseNameError(f"lease {text!r} is not NAMESPACE/NAME")
        return cls(namespace, name)


class Lease:
    """One candidate's view of a Lease."""

    def __init__(self, api: ApiServer, name: LeaseName, identity: str, now: Callable[[], str]) -> None:
        """`identity` tells this process from all others; `now` gives RFC 3339, for people to read."""
        self._api = api
        self._name = name
        self._identity = identity
        self._now = now
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{name.namespace}/leases"
        self._seen: Manifest | None = None
        self._seen_at = 0.0
        self._renewed_at: float | None = None

    def is_held(self) -> bool:
        """Whether this process may write at this moment, also after it was stopped for a while."""
        now = asyncio.get_running_loop().time()
        return self._renewed_at is not None and now - self._renewed_at < RENEW_DEADLINE_SECONDS

    async def acquire(self) -> None:
        """Wait until it is held."""
        logger.info("waiting for the lease %s/%s", self._name.namespace, self._name.name)
        while not await self._attempt():
            await asyncio.sleep(RETRY_SECONDS)
        logger.info("holding the lease as %s", self._identity)

    async def keep(self) -> None:
        """Renew until that fails for too long. Raises LeaseLostError."""
        while self.is_held():
            await asyncio.sleep(RETRY_SECONDS)
            await self._attempt()
        raise LeaseLostError(f"the lease {self._name.namespace}/{self._name.name} could not be renewed")

    async def release(self) -> None:
        """Let another one take over at once."""
        if self._seen is None or not self.is_held():
            return
        try:
            await self._write({**self._seen["spec"], "holderIdentity": ""})
        except ClusterError as error:
            logger.warning("the lease could not be released, and will expire: %s", error)
        self._renewed_at = None

    async def _attempt(self) -> bool:
        """Take or renew it; whether it is held afterwards."""
        asked_at = asyncio.get_running_loop().time()
        try:
            await self._look(asked_at)
            if not self._may_take(asked_at):
                self._renewed_at = None
                return False
            self._seen = await self._write(self._spec())
        except (ConflictError, UnavailableError) as error:
            logger.warning("lease: %s", error)
            return self.is_held()
        self._seen_at = self._renewed_at = asked_at
        return True

    async def _look(self, asked_at: float) -> None:
        try:
            found = await self._api.send(Request("GET", f"{self._path}/{self._name.name}"))
        except NotFoundError:
            self._seen = None
            return
        if self._seen is None or _version(self._seen) != _version(found):
            self._seen_at = asked_at
        self._seen = found

    def _may_take(self, now: float) -> bool:
        holder = None if self._seen is None else self._seen["spec"].get("holderIdentity")
        return not holder or holder == self._identity or now - self._seen_at >= LEASE_SECONDS

    def _spec(self) -> Manifest:
        before = {} if self._seen is None else self._seen["spec"]
        is_mine = before.get("holderIdentity") == self._identity
        moment = self._now().replace("Z", ".000000Z")
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": LEASE_SECONDS,
            "acquireTime": before["acquireTime"] if is_mine else moment,
            "renewTime": moment,
            "leaseTransitions": before.get("leaseTransitions", 0) + (0 if is_mine else 1),
        }

    async def _write(self, spec: Manifest) -> Manifest:
        """Create or replace it; the resource version makes two candidates meet in a conflict."""
        metadata = {"name": self._name.name, "namespace": self._name.namespace}
        if self._seen is not None:
            metadata["resourceVersion"] = _version(self._seen)
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
        if self._seen is None:
            return await self._api.send(Request("POST", self._path, None, body))
        return await self._api.send(Request("PUT", f"{self._path}/{self._name.name}", None, body))


def _version(lease: Manifest) -> str:
    return str(lease["metadata"]["resourceVersion"])
