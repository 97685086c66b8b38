"""The public application: routes, and what surrounds every request."""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gemma_serving.gateway.answers import error_response, outcome_of
from gemma_serving.gateway.errors import ApiError
from gemma_serving.gateway.gateway import Gateway
from gemma_serving.gateway.logs import request_id
from gemma_serving.gateway.routes.chat import chat_completions
from gemma_serving.gateway.routes.completions import completions
from gemma_serving.gateway.routes.models import get_model, list_models
from gemma_serving.gateway.routes.openapi import openapi
from gemma_serving.gateway.routes.state import health, performance
from gemma_serving.gateway.routes.tokenize import tokenize
from gemma_serving.gateway.routes.usage import usage
from gemma_serving.gateway.tracing import name_request, route_of

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Door:
    """Around every request: its id, its span, the drain, who asks, and errors in OpenAI's words."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = _request_id(scope)
        request_id.set(identity)
        state = scope.setdefault("state", {})
        state["request_id"] = identity
        state["facts"] = {}
        status, began = 0, time.monotonic()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", identity.encode())]
            await send(message)

        with self._gateway.engine.tracing.request(scope) as span:
            await self._answer(scope, receive, send_with_id)
            name_request(span, scope, status)
            _log_request(scope, status, time.monotonic() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._gateway.engine.drain.request():
                scope["state"]["consumer"] = self._gateway.access.authenticate(scope["headers"])
                await self._app(scope, receive, send)
        except ApiError as error:
            if error.status == 401:
                self._gateway.engine.metrics.rejected("unauthorized")
            self._gateway.engine.metrics.request_ended(outcome_of(error))
            await error_response(error)(scope, receive, send)
        except Exception:
            # Answered and logged by `bug`; Starlette raises it once more for the server's log.
            return


def _log_request(scope: Scope, status: int, seconds: float) -> None:
    """One line for each request that generates; probes and lists would drown them."""
    if scope["method"] == "POST":
        route = route_of(scope)
        facts = {"route": route, "status": status, "seconds": round(seconds, 4), **scope["state"]["facts"]}
        log.info("POST %s %d", route, status, extra=facts)


def _request_id(scope: Scope) -> str:
    """The caller's `x-request-id` where it is a sane one, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value.decode("latin-1")):
            return str(value.decode("latin-1"))
    return f"req-{uuid.uuid4().hex}"


def make_app(gateway: Gateway) -> ASGIApp:
    """The application on the public port."""

    async def api_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        gateway.engine.metrics.request_ended(outcome_of(error))
        return error_response(error)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return error_response(_worded(request, error))

    async def bug(request: Request, error: Exception) -> Response:
        identity = request.state.request_id
        log.error("request %s failed", identity, exc_info=error)
        gateway.engine.metrics.request_ended("failed")
        return error_response(
            ApiError(500, f"Internal error; request id {identity}.", "server_error", "internal_error")
        )

    routes = [
        Route("/v1/chat/completions", chat_completions, methods=["POST"]),
        Route("/v1/completions", completions, methods=["POST"]),
        Route("/v1/usage", usage, methods=["GET"]),
        Route("/v1/performance", performance, methods=["GET"]),
        Route("/tokenize", tokenize, methods=["POST"]),
        Route("/health", health, methods=["GET"]),
        Route("/openapi.json", openapi, methods=["GET"]),
        Route("/v1/models", list_models, methods=["GET"]),
        Route("/v1/models/{model:path}", get_model, methods=["GET"]),
    ]
    handlers = {ApiError: api_error, HTTPException: http_error, Exception: bug}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.state.gateway = gateway
    return Door(app, gateway)


def _worded(request: Request, error: HTTPException) -> ApiError:
    headers = dict(error.headers or {})
    match error.status_code:
        case 404:
            message = f"Unknown URL: {request.method} {request.url.path}"
            return ApiError(404, message, code="unknown_url", headers=headers)
        case 405:
            allowed = headers.get("Allow", "")
            message = f"{request.method} is not allowed here; allowed: {allowed}"
            return ApiError(405, message, code="method_not_allowed", headers=headers)
        case status:
            return ApiError(status, str(error.detail), headers=headers)
