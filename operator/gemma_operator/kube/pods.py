"""HTTP to a pod's own ports through the API server: from wherever kubectl works, and no port is opened."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

from gemma_operator.api.manifest import Manifest
from gemma_operator.kube.apiserver import ApiServer, Request
from gemma_operator.kube.kinds import POD


@dataclass(frozen=True, slots=True)
class PodPort:
    """One port of one pod. Asking needs `get` and `create` of `pods/proxy`."""

    api: ApiServer
    namespace: str
    pod: str
    port: int
    headers: Mapping[str, str]
    """Sent with each request. The API server keeps `Authorization` to itself."""

    async def get(self, path: str) -> Manifest:
        """A JSON document. Raises ClusterError."""
        return await self.api.send(Request("GET", self._path(path), headers=self.headers))

    async def post(self, path: str, body: Manifest) -> Manifest:
        """The answer to a JSON body. Raises ClusterError."""
        return await self.api.send(Request("POST", self._path(path), body=body, headers=self.headers))

    def stream(self, path: str, body: Manifest) -> AsyncGenerator[str, None]:
        """Lines of the answer to a JSON body, as they come. Raises ClusterError."""
        return self.api.lines(Request("POST", self._path(path), body=body, headers=self.headers))

    def _path(self, path: str) -> str:
        return POD.path(self.namespace, f"{self.pod}:{self.port}", f"proxy{path}")
