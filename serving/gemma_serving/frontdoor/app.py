"""The front door's two applications: the OpenAI endpoint of the fleet, and probes, metrics and counts."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gemma_serving.frontdoor.books import Books
from gemma_serving.frontdoor.fleet import Endpoint, Fleet, Target, parse_endpoint
from gemma_serving.frontdoor.forwarding import Answer, Asked, Forwarder, prefix_of
from gemma_serving.frontdoor.holding import Waiting
from gemma_serving.frontdoor.listing import Listing
from gemma_serving.gateway.admin import METRICS_MEDIA_TYPE
from gemma_serving.gateway.answers import error_response, json_response
from gemma_serving.gateway.errors import ApiError, invalid
from gemma_serving.gateway.routes.body import read_body

log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 10.0
"""Between comments on a stream that waits: load balancers take 30 s of silence for death."""
KEEP_ALIVE = b": waiting for a replica\n\n"
MOST_MIRRORED = 16
"""Copies under way at once; beyond it requests are not copied."""
PATHS = ("/v1/chat/completions", "/v1/completions", "/tokenize")


class FrontDoor:
    """Everything that one process holds."""

    def __init__(self, fleet: Fleet, waiting: Waiting, books: Books, forwarder: Forwarder) -> None:
        self.fleet = fleet
        self.waiting = waiting
        self.books = books
        self.forwarder = forwarder
        self.listing = Listing(fleet)
        self.is_leaving = False
        self.knows_fleet = False
        self.open_requests = 0
        """On the public port, held ones and streams among them."""
        self._mirrors: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Close every connection."""
        for task in self._mirrors:
            task.cancel()
        await self.forwarder.close()
        await self.listing.close()

    async def generate(self, request: Request) -> Response:
        """Send a request where its model is served."""
        body = await _body(request)
        target = self.fleet.resolve(_model(body))
        asked = Asked(request.url.path, dict(request.headers), body, prefix_of(body))
        self._mirror(target, asked)
        if body.get("stream") and not self.forwarder.has_replica(target.endpoint):
            return StreamingResponse(self._held_stream(target, asked), media_type="text/event-stream")
        try:
            answer = await self.forwarder.send(target, asked)
        except ApiError as error:
            self.books.ended(target.endpoint, error.status)
            raise
        self.books.ended(target.endpoint, answer.status)
        return StreamingResponse(_passed_on(answer), answer.status, answer.headers)

    async def _held_stream(self, target: Target, asked: Asked) -> AsyncIterator[bytes]:
        """Comments while nothing can be sent yet; errors as events, since the status has gone out."""
        sending = asyncio.create_task(self.forwarder.send(target, asked))
        try:
            while not sending.done():
                yield KEEP_ALIVE
                await asyncio.wait({sending}, timeout=KEEP_ALIVE_SECONDS)
            answer = sending.result()
            self.books.ended(target.endpoint, answer.status)
            if answer.status != 200:
                content = b"".join([chunk async for chunk in answer.chunks])
                yield b"data: " + content.replace(b"\n", b" ") + b"\n\n"
                return
            async for chunk in _passed_on(answer):
                yield chunk
        except ApiError as error:
            self.books.ended(target.endpoint, error.status)
            yield _event(error)
        finally:
            if not sending.done():
                sending.cancel()
                with suppress(asyncio.CancelledError):
                    await sending

    def _mirror(self, target: Target, asked: Asked) -> None:
        mirror = None if target.route is None else target.route.mirror
        if mirror is None or len(self._mirrors) >= MOST_MIRRORED or random.uniform(0, 100) >= mirror.percent:
            return
        endpoint = parse_endpoint(mirror.endpoint)
        if not self.forwarder.has_replica(endpoint):
            return
        copy = Asked(asked.path, asked.headers, {**asked.body, "stream": False}, asked.prefix)
        copy.body.pop("stream_options", None)
        task = asyncio.create_task(self._thrown_away(Target(endpoint, endpoint.name), copy))
        self._mirrors.add(task)
        task.add_done_callback(self._mirrors.discard)

    async def _thrown_away(self, target: Target, asked: Asked) -> None:
        try:
            answer = await self.forwarder.send(target, asked)
            async for _ in answer.chunks:
                pass
        except (ApiError, httpx2.HTTPError) as error:
            log.info("a mirrored request to %s failed: %s", target.endpoint, error)


class _Leavable:
    """Counts open requests, and tells callers of a door that leaves to connect anew: to another one.

    Proxies deal out connections, so that a kept one would bring requests until the door cuts it.
    """

    def __init__(self, app: ASGIApp, door: FrontDoor) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def telling(message: Message) -> None:
            if self._door.is_leaving and message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        self._door.open_requests += 1
        try:
            await self._app(scope, receive, telling)
        finally:
            self._door.open_requests -= 1


async def _passed_on(answer: Answer) -> AsyncIterator[bytes]:
    """The pod's own bytes. A pod that dies meanwhile is told of on a stream, and cuts anything else short."""
    is_stream = answer.headers.get("content-type", "").startswith("text/event-stream")
    try:
        async for chunk in answer.chunks:
            yield chunk
    except httpx2.HTTPError as error:
        if not is_stream:
            raise
        yield _event(ApiError(502, f"The pod went away: {error}", "server_error", "replica_lost"))


def _event(error: ApiError) -> bytes:
    return b"data: " + json.dumps(error.body()).encode() + b"\n\n"


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await read_body(request))
    except ValueError as error:
        raise invalid(f"The body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise invalid("The body must be a JSON object.")
    return body


def _model(body: dict[str, Any]) -> str:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise invalid("`model` must name a model.", "model")
    return model


def make_app(door: FrontDoor) -> Starlette:
    """The application on the public port."""

    async def list_models(request: Request) -> Response:
        return json_response({"object": "list", "data": await door.listing.cards(request.headers)})

    async def get_model(request: Request) -> Response:
        name = request.path_params["model"]
        for card in await door.listing.cards(request.headers):
            if card["id"] == name:
                return json_response(card)
        door.fleet.resolve(name)
        raise ApiError(404, f"The model {name!r} is not yours to use.", code="model_not_found", param="model")

    async def refused(_: Request, error: Exception) -> Response:
        if isinstance(error, ApiError):
            return error_response(error)
        assert isinstance(error, HTTPException)
        return error_response(ApiError(error.status_code, str(error.detail), code="unknown_url"))

    routes = [
        *(Route(path, door.generate, methods=["POST"]) for path in PATHS),
        Route("/v1/models", list_models, methods=["GET"]),
        Route("/v1/models/{model:path}", get_model, methods=["GET"]),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(_Leavable, door)],
        exception_handlers={ApiError: refused, HTTPException: refused},
    )


def make_admin_app(door: FrontDoor) -> Starlette:
    """`/readyz /livez /metrics`, and `/scaling/NAMESPACE/NAME` for KEDA's metrics-api trigger."""

    async def readyz(_: Request) -> Response:
        if door.is_leaving or not door.knows_fleet:
            return PlainTextResponse("draining\n" if door.is_leaving else "no fleet yet\n", 503)
        return PlainTextResponse("ready\n")

    async def livez(_: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def metrics(_: Request) -> Response:
        return Response(door.books.page(), media_type=METRICS_MEDIA_TYPE)

    async def scaling(request: Request) -> Response:
        endpoint = Endpoint(request.path_params["namespace"], request.path_params["name"])
        if endpoint not in door.fleet.endpoints:
            return json_response({"error": f"there is no GemmaDeployment {endpoint}"}, 404)
        counts = {"waiting": door.waiting.count(endpoint), "running": door.books.running[endpoint]}
        return json_response(counts)

    return Starlette(
        routes=[
            Route("/readyz", readyz),
            Route("/livez", livez),
            Route("/metrics", metrics),
            Route("/scaling/{namespace}/{name}", scaling),
        ]
    )
