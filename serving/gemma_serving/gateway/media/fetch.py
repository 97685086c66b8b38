"""Images by URL, without ever asking an address inside the cluster or the cloud's metadata service.

The name is resolved here, every address must be a public one, and the connection goes to the address that
was judged, so that a second answer of the name server cannot differ. Redirects are judged again. No proxy
of the environment is used.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable

import httpx2

FETCH_SECONDS = 10.0
MAX_REDIRECTS = 3
# Forms of IPv6 that carry an IPv4 address, which may be a private one.
_EMBEDDING = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))

Resolve = Callable[[str, int], Awaitable[list[str]]]


class FetchError(ValueError):
    """The URL was not fetched; the text says why."""


def is_public(address: str) -> bool:
    """Whether an address may be asked by a server on a caller's behalf."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if any(ip in network for network in _EMBEDDING):
            return False
    return ip.is_global and not ip.is_multicast


async def resolve(host: str, port: int) -> list[str]:
    """Addresses of a name; raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Fetcher:
    """Fetches public `https:` URLs within limits."""

    def __init__(
        self, max_bytes: int, resolver: Resolve = resolve, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._max_bytes = max_bytes
        self._resolve = resolver
        self._client = httpx2.AsyncClient(timeout=FETCH_SECONDS, trust_env=False, transport=transport)

    async def fetch(self, url: str) -> bytes:
        """The body; raises FetchError."""
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                for _ in range(MAX_REDIRECTS + 1):
                    body, url = await self._get(url)
                    if body is not None:
                        return body
        except TimeoutError:
            raise FetchError(f"it was not fetched within {FETCH_SECONDS:.0f} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError) as error:
            raise FetchError(f"it was not fetched: {type(error).__name__}") from error
        raise FetchError(f"more than {MAX_REDIRECTS} redirects")

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.aclose()

    async def _get(self, url: str) -> tuple[bytes | None, str]:
        """Body, or None and where it redirects to."""
        target = httpx2.URL(url)
        if target.scheme != "https" or not target.host:
            raise FetchError("only https: and data: URLs are accepted")
        address = await self._public_address(target.host, target.port or 443)
        request = self._client.build_request(
            "GET",
            target.copy_with(host=address),
            headers={"host": target.netloc.decode(), "accept": "image/*,audio/*"},
            extensions={"sni_hostname": target.host},
        )
        response = await self._client.send(request, stream=True)
        try:
            if response.has_redirect_location:
                return None, str(target.join(response.headers["location"]))
            if response.status_code != 200:
                raise FetchError(f"its server answered {response.status_code}")
            return await self._body(response), url
        finally:
            await response.aclose()

    async def _public_address(self, host: str, port: int) -> str:
        addresses = await self._resolve(host, port)
        if not addresses or not all(map(is_public, addresses)):
            raise FetchError("its address is not a public one")
        return addresses[0]

    async def _body(self, response: httpx2.Response) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > self._max_bytes:
                raise FetchError(f"it is larger than {self._max_bytes} bytes")
            chunks.append(chunk)
        return b"".join(chunks)
