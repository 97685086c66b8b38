"""`GET /openapi.json`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gemma_serving.gateway.answers import json_response
from gemma_serving.gateway.gateway import Gateway
from gemma_serving.gateway.openapi import document


async def openapi(request: Request) -> Response:
    """The document, true to this deployment: its model names, its limits."""
    gateway: Gateway = request.app.state.gateway
    return json_response(document(gateway.served_models()))
