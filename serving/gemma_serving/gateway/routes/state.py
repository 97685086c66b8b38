"""`GET /health` and `GET /v1/performance`: how the replica is, and how it did."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gemma_serving.contract import HealthConfig
from gemma_serving.gateway.answers import json_response
from gemma_serving.gateway.errors import invalid
from gemma_serving.gateway.gateway import Gateway
from gemma_serving.gateway.health import Verdict
from gemma_serving.gateway.record import KEPT, export, success_percent, summary

RECENT = 100
"""Requests that the success rate is judged by."""
_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")


async def health(request: Request) -> Response:
    """Engine, queue and memory, with the reasons for which the replica is degraded."""
    gateway: Gateway = request.app.state.gateway
    body = state_of(gateway)
    return json_response(body, 200 if body["status"] in ("ok", "degraded") else 503)


async def performance(request: Request) -> Response:
    """A summary of the last requests (`last`, default all that are kept), with each of them for
    `export=true`.
    """
    gateway: Gateway = request.app.state.gateway
    text = request.query_params.get("last", str(KEPT))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= KEPT and len(text) < 6):
        raise invalid(f"last: a whole number from 1 to {KEPT}", "last", "validation_error")
    exported = request.query_params.get("export", "false")
    if exported not in ("true", "false"):
        raise invalid("export: true or false", "export", "validation_error")
    entries = gateway.record.last(int(text))
    body = {"object": "performance", "model": gateway.config.model, **summary(entries)}
    return json_response({**body, "entries": export(entries)} if exported == "true" else body)


def state_of(gateway: Gateway) -> dict[str, Any]:
    """What `/health` says."""
    engine, now = gateway.engine, time.monotonic()
    found, stats = engine.health, engine.health.stats
    memory = _memory()
    verdict = found.verdict(now)
    reasons = _reasons(gateway, memory)
    return {
        "status": _status(gateway, verdict, reasons),
        "reasons": reasons,
        "model": gateway.config.model,
        "engine": {
            "state": verdict.value,
            "last_answer_seconds_ago": round(now - found.last_proof, 3),
            "canary_seconds": found.last_canary_seconds,
            "running": None if stats is None else stats.running,
            "kv_cache_used_tokens": None if stats is None else stats.kv_used_tokens,
            "kv_cache_total_tokens": None if stats is None else stats.kv_total_tokens,
        },
        "queue": {
            "running": engine.admission.running,
            "waiting": engine.admission.waiting,
            "slots": engine.admission.slots,
            "limit": engine.admission.queue_limit,
        },
        "adapters": [
            {
                "name": each.name,
                "path": gateway.adapters.wanted[each.name],
                "state": each.state.value,
                "message": each.message,
            }
            for each in gateway.adapters.reports()
        ],
        "memory": memory,
        "draining": engine.drain.leaving,
    }


def _status(gateway: Gateway, verdict: Verdict, reasons: list[str]) -> str:
    if gateway.engine.drain.leaving:
        return "draining"
    if verdict is not Verdict.ALIVE:
        return str(verdict.value)
    return "degraded" if reasons else "ok"


def _reasons(gateway: Gateway, memory: dict[str, int | None]) -> list[str]:
    limits = gateway.config.health or HealthConfig()
    admission, canary = gateway.engine.admission, gateway.engine.health.last_canary_seconds
    reasons = []
    if canary is not None and canary > limits.canary_seconds:
        reasons.append(
            f"one token of the idle engine took {canary:.1f} s; {limits.canary_seconds:.1f} s are expected"
        )
    share = success_percent(gateway.record.last(RECENT))
    if share is not None and share < limits.success_percent:
        reasons.append(
            f"{share:.0f} % of recent requests succeeded; {limits.success_percent:.0f} % are expected"
        )
    if admission.queue_limit and 100 * admission.waiting > limits.queue_percent * admission.queue_limit:
        reasons.append(f"{admission.waiting} of {admission.queue_limit} places in the queue are taken")
    used, limit = memory["rss_bytes"], memory["limit_bytes"]
    if used and limit and 100 * used > limits.memory_percent * limit:
        reasons.append(f"the gateway uses {used} of {limit} bytes of memory")
    return reasons


def _memory() -> dict[str, int | None]:
    """Resident memory of the gateway, and its container's limit where it has one."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    try:
        text = _MEMORY_LIMIT.read_text().strip()
    except OSError:
        text = "max"
    return {
        "rss_bytes": pages * os.sysconf("SC_PAGE_SIZE"),
        "limit_bytes": int(text) if text.isdigit() else None,
    }
