"""`GET /v1/models` and `GET /v1/models/{id}`."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gemma_serving.gateway.answers import json_response
from gemma_serving.gateway.gateway import Gateway


async def list_models(request: Request) -> Response:
    """The served models."""
    gateway: Gateway = request.app.state.gateway
    return json_response(
        {"object": "list", "data": [_card(gateway, name) for name in gateway.served_models()]}
    )


async def get_model(request: Request) -> Response:
    """One served model."""
    gateway: Gateway = request.app.state.gateway
    name = request.path_params["model"]
    gateway.adapter_of(name)
    return json_response(_card(gateway, name))


def _card(gateway: Gateway, name: str) -> dict[str, Any]:
    config = gateway.config
    return {
        "id": name,
        "object": "model",
        "created": gateway.started_at,
        "owned_by": "google",
        "root": config.variant,
        "max_model_len": config.context_length,
        "modalities": config.modalities,
        "instruction_tuned": config.instruction_tuned,
    }
