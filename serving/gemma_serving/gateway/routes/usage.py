"""`GET /v1/usage`: what the asking key used and has left."""

from __future__ import annotations

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response

from gemma_serving.gateway.access.keys import Consumer
from gemma_serving.gateway.answers import json_response
from gemma_serving.gateway.gateway import Gateway


async def usage(request: Request) -> Response:
    """Totals of this replica, and the key's limits."""
    gateway: Gateway = request.app.state.gateway
    consumer: Consumer = request.state.consumer
    body = {
        "object": "usage",
        "key": consumer.name,
        "since": gateway.started_at,
        **gateway.access.usage.to_json(consumer.name),
        "limits": {name: value for name, value in asdict(consumer.limits).items() if value is not None},
    }
    return json_response(body, headers=dict(await gateway.access.limiter.headers(consumer)))
