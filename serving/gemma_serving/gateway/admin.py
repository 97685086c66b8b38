"""The admin application: probes and metrics, on a port that the Service does not expose."""

from __future__ import annotations

import asyncio
import time
import urllib.error
import urllib.request

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gemma_serving.gateway.answers import json_response
from gemma_serving.gateway.gateway import Gateway
from gemma_serving.gateway.health import Verdict
from gemma_serving.gateway.routes.state import state_of

TRITON_METRICS_TIMEOUT_SECONDS = 2.0
METRICS_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def make_admin_app(gateway: Gateway, triton_metrics_url: str) -> Starlette:
    """`/startupz /readyz /livez /enginez /metrics`, and `/health` for people."""
    health, drain = gateway.engine.health, gateway.engine.drain

    async def startupz(_: Request) -> Response:
        return _answer(health.started, "started", health.detail)

    async def readyz(_: Request) -> Response:
        if drain.leaving:
            return _answer(False, "", "draining")
        return _answer(health.ready(time.monotonic()), "ready", health.verdict(time.monotonic()).value)

    async def livez(_: Request) -> Response:
        return _answer(True, "alive", "")

    async def enginez(_: Request) -> Response:
        verdict = health.verdict(time.monotonic())
        return _answer(
            verdict in (Verdict.ALIVE, Verdict.STARTING), verdict.value, f"{verdict.value}: {health.detail}"
        )

    async def state(_: Request) -> Response:
        return json_response(state_of(gateway))

    async def metrics(_: Request) -> Response:
        gateway.engine.metrics.engine.stats = health.stats
        page = gateway.engine.metrics.render() + await asyncio.to_thread(_triton_page, triton_metrics_url)
        return Response(page, media_type=METRICS_MEDIA_TYPE)

    endpoints = {
        "/startupz": startupz,
        "/readyz": readyz,
        "/livez": livez,
        "/enginez": enginez,
        "/metrics": metrics,
        "/health": state,
    }
    return Starlette(routes=[Route(path, endpoint, methods=["GET"]) for path, endpoint in endpoints.items()])


def _answer(good: bool, yes: str, no: str) -> Response:
    return PlainTextResponse(f"{yes if good else no}\n", 200 if good else 503)


def _triton_page(url: str) -> bytes:
    """Triton's own page, or nothing while it does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=TRITON_METRICS_TIMEOUT_SECONDS) as answer:
            return bytes(answer.read())
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return b""
