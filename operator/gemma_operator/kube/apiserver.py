"""Requests to the Kubernetes API through the official asynchronous client, in plain data."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from gemma_operator import __version__
from gemma_operator.api.manifest import Manifest
from gemma_operator.kube.errors import ClusterError, UnavailableError, error_for
from gemma_operator.kube.trace import current_trace

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
"""Built-in kinds only: knows which lists are maps."""
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""Accepted instead of whole objects: names, not what is in them."""
APPLY_PATCH = "application/apply-patch+yaml"
"""Content type of server-side apply. JSON is YAML."""

REQUEST_TIMEOUT_SECONDS = 30.0
"""The API server's own limit for a request that is not a watch is 60 s; a healthy one answers within 1 s."""
CONNECT_TIMEOUT_SECONDS = 10.0
SILENCE_TIMEOUT_SECONDS = 90.0
"""A watch on which nothing was heard, not even the bookmark that comes about every 60 s, is opened anew."""
NO_LIMIT = 0
"""Of connections: watches hold one for each kind and namespace, and workers are few anyway."""
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Request:
    """One request."""

    method: str
    path: str
    query: Mapping[str, str] | None = None
    body: Any = None
    content_type: str = JSON
    accept: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    """Beside those that every request has."""

    def __str__(self) -> str:
        """As it is named in errors."""
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to reach the API server, for a framework that brings its own client."""

    server: str
    ca_file: str | None
    certificate_file: str | None
    key_file: str | None
    token: str | None
    verify: bool


Observer = Callable[[Request, int], None]
"""Told of every answered request and its HTTP status; 0 where none came."""


class ApiServer:
    """A connection to one API server."""

    def __init__(
        self,
        configuration: Configuration,
        observer: Observer,
        silence_seconds: float = SILENCE_TIMEOUT_SECONDS,
    ) -> None:
        """`silence_seconds`: how long a watch may say nothing until it is taken for dead."""
        configuration.connection_pool_maxsize = NO_LIMIT
        self._configuration = configuration
        self._client = ApiClient(configuration)
        self._client.user_agent = f"gemma-operator/{__version__}"
        self._observer = observer
        self._silence_seconds = silence_seconds
        self.may_write: Callable[[], bool] = lambda: True
        """Asked before each write: False once another process may hold the lease."""

    @classmethod
    async def connect(cls, observer: Observer) -> "ApiServer":
        """Read the pod's service account, or the kubeconfig file where there is none. Raises ClusterError."""
        configuration = Configuration()
        try:
            if "KUBERNETES_SERVICE_HOST" in os.environ:
                load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            else:
                await load_kube_config(  # type: ignore[no-untyped-call]
                    client_configuration=configuration, persist_config=False
                )
        except ConfigException as error:
            raise ClusterError(
                f"no way to reach a cluster: {error}. Run in a pod with a service account, or set KUBECONFIG"
            ) from error
        return cls(configuration, observer)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def credentials(self) -> Credentials:
        """What another client needs; the token is read anew."""
        setting = (await self._configuration.auth_settings()).get("BearerToken")
        token = str(setting["value"]).split(" ", 1)[-1] if setting and setting["value"] else None
        return Credentials(
            server=self._configuration.host,
            ca_file=self._configuration.ssl_ca_cert,
            certificate_file=self._configuration.cert_file,
            key_file=self._configuration.key_file,
            token=token,
            verify=self._configuration.verify_ssl,
        )

    async def send(self, request: Request) -> Manifest:
        """Send a request and return the answer's object. Raises ClusterError."""
        if request.method != "GET" and not self.may_write():
            raise UnavailableError(f"{request}: not sent, since the lease is not held any more")
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS, sock_connect=CONNECT_TIMEOUT_SECONDS)
        response = await self._open(request, timeout)
        try:
            manifest: Manifest = json.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise UnavailableError(f"{request}: no whole answer: {error!r}") from error
        return manifest

    async def watch(self, request: Request, opened: Callable[[], None]) -> AsyncIterator[Manifest]:
        """Yield a watch's events until the server ends it or falls silent. Raises ClusterError.

        `opened` is called once the server has agreed to tell of events, of which there may be none for long.
        """
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT_SECONDS, sock_read=self._silence_seconds
        )
        try:
            # Headers come at once, however quiet the watch is: no need to wait for them as for an event.
            async with asyncio.timeout(min(REQUEST_TIMEOUT_SECONDS, self._silence_seconds)):
                response = await self._open(request, timeout)
        except TimeoutError as error:
            raise UnavailableError(f"{request}: no answer: {error!r}") from error
        opened()
        rest = b""
        try:
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield json.loads(line)
        except TimeoutError:
            return  # silent: perhaps dead, perhaps only quiet; the caller opens it anew
        except (aiohttp.ClientError, ValueError) as error:
            raise UnavailableError(f"{request}: the watch broke off: {error!r}") from error
        finally:
            response.close()

    async def lines(self, request: Request) -> AsyncGenerator[str, None]:
        """Yield an answer line by line as it comes. Raises ClusterError. Closing it ends the request."""
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT_SECONDS, sock_read=SILENCE_TIMEOUT_SECONDS
        )
        response = await self._open(request, timeout)
        try:
            async for line in response.content:
                yield line.decode().rstrip("\r\n")
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise UnavailableError(f"{request}: the answer broke off: {error!r}") from error
        finally:
            response.close()

    async def _open(self, request: Request, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        url = request.path if not request.query else f"{request.path}?{urlencode(request.query)}"
        method, url, headers, body, _ = await self._client.param_serialize(
            request.method,
            url,
            header_params={
                "Accept": request.accept,
                "Content-Type": request.content_type,
                **_trace_headers(),
                **request.headers,
            },
            body=request.body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = await self._client.call_api(method, url, headers, body, _request_timeout=timeout)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._observer(request, 0)
            raise UnavailableError(f"{request}: no answer: {error!r}") from error
        response: aiohttp.ClientResponse = answer.response
        self._observer(request, response.status)
        if response.status >= 400:
            raise await _failure(request, response)
        return response


def _trace_headers() -> dict[str, str]:
    trace = current_trace()
    return {} if trace is None else {"traceparent": trace.header()}


async def _failure(request: Request, response: aiohttp.ClientResponse) -> ClusterError:
    """The error in an answer: the message of its Status object, or its text."""
    text = await response.text(errors="replace")
    try:
        message = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        message = text.strip()[:500] or str(response.reason)
    return error_for(response.status, f"{request}: {message}", response.headers.get("Retry-After"))
