"""Which web framework and server streams tokens cheapest: streamed chunks per CPU second of the server
process.

    python benchmarks/gateway/frameworks.py            # measures what is installed, one JSON line per
    candidate

Each candidate serves the same endpoint: `POST /stream` answers CHUNKS server-sent events, one write each,
yielding to the event loop between two. The client is a bare socket reader in this process; the server runs
alone in another, so its CPU time (from /proc) holds nothing of the client. Optional candidates: granian,
hypercorn, aiohttp.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

CHUNKS = 2000
"""Events of one stream."""
STREAMS = (1, 16, 64)
TOTAL_CHUNKS = 256_000
"""Events per measurement: enough that the 10 ms tick of /proc is noise."""
CHUNK = (
    b'data: {"id":"chatcmpl-0123456789abcdef","object":"chat.completion.chunk","created":1760000000,'
    b'"model":"assistant","choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}\n\n'
)
HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
CANDIDATES = {
    "asgi+uvicorn": "uvicorn",
    "starlette+uvicorn": "uvicorn",
    "starlette+granian": "granian",
    "starlette+hypercorn": "hypercorn",
    "aiohttp": "aiohttp",
}


async def raw_asgi(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Any]
) -> None:
    """The endpoint as a plain ASGI callable."""
    if scope["type"] != "http":
        return
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    for _ in range(CHUNKS):
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def starlette_app() -> Any:
    """The endpoint with Starlette's router and StreamingResponse."""
    from starlette.applications import Starlette  # noqa: PLC0415 - each candidate is optional
    from starlette.requests import Request  # noqa: PLC0415
    from starlette.responses import StreamingResponse  # noqa: PLC0415
    from starlette.routing import Route  # noqa: PLC0415

    async def chunks() -> Any:
        for _ in range(CHUNKS):
            await asyncio.sleep(0)
            yield CHUNK

    async def stream(request: Request) -> StreamingResponse:
        await request.body()
        return StreamingResponse(chunks(), media_type="text/event-stream")

    return Starlette(routes=[Route("/stream", stream, methods=["POST"])])


def serve_aiohttp(port: int) -> None:
    """The endpoint with aiohttp.web on uvloop."""
    import uvloop  # noqa: PLC0415
    from aiohttp import web  # noqa: PLC0415

    async def stream(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        for _ in range(CHUNKS):
            await asyncio.sleep(0)
            await response.write(CHUNK)
        await response.write_eof()
        return response

    app = web.Application()
    app.router.add_post("/stream", stream)
    web.run_app(app, host="127.0.0.1", port=port, print=None, loop=uvloop.new_event_loop(), access_log=None)


def serve(candidate: str, port: int) -> None:
    """Run one candidate until it is ended."""
    app: Any = raw_asgi if candidate.startswith("asgi") else None
    if candidate == "aiohttp":
        serve_aiohttp(port)
        return
    app = app or starlette_app()
    if candidate.endswith("uvicorn"):
        import uvicorn  # noqa: PLC0415

        uvicorn.run(
            app,
            host="127.0.0.1",
            port=port,
            loop="uvloop",
            http="httptools",
            access_log=False,
            log_level="warning",
        )
    elif candidate.endswith("hypercorn"):
        from hypercorn.asyncio import serve as hypercorn_serve  # noqa: PLC0415
        from hypercorn.config import Config  # noqa: PLC0415

        config = Config()
        config.bind = [f"127.0.0.1:{port}"]
        import uvloop  # noqa: PLC0415

        uvloop.run(hypercorn_serve(app, config))
    else:
        from granian.constants import Interfaces, Loops  # noqa: PLC0415
        from granian.server.embed import Server  # noqa: PLC0415

        del Loops
        import uvloop  # noqa: PLC0415

        uvloop.run(Server(app, address="127.0.0.1", port=port, interface=Interfaces.ASGI).serve())


def cpu_seconds(pid: int) -> float:
    """User plus system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def read_stream(port: int) -> float:
    """One whole stream; returns seconds to the first event."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    start = time.perf_counter()
    writer.write(b"POST /stream HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
    first, seen, tail = 0.0, 0, b""
    while data := await reader.read(2**16):
        seen += (tail + data).count(b"data: ")
        tail = data[-5:]
        first = first or (time.perf_counter() - start if seen else 0.0)
    writer.close()
    if seen != CHUNKS:
        raise RuntimeError(f"{seen} of {CHUNKS} events arrived")
    return first


async def measure(port: int, pid: int) -> dict[str, Any]:
    """Chunks per CPU second at each number of streams."""
    await read_stream(port)
    result: dict[str, Any] = {}
    for streams in STREAMS:
        before, start = cpu_seconds(pid), time.perf_counter()
        firsts: list[float] = []
        for _ in range(TOTAL_CHUNKS // CHUNKS // streams):
            firsts += await asyncio.gather(*(read_stream(port) for _ in range(streams)))
        wall, cpu = time.perf_counter() - start, cpu_seconds(pid) - before
        result[f"{streams} streams"] = {
            "chunks_per_cpu_second": round(len(firsts) * CHUNKS / cpu),
            "chunks_per_second": round(len(firsts) * CHUNKS / wall),
            "first_ms_p99": round(sorted(firsts)[int(len(firsts) * 0.99)] * 1000, 1),
        }
    return {**result, "rss_mib": round(rss_mib(pid), 1)}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until the server accepts, or ended."""
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("the server ended before it listened")


def main() -> None:
    """Measure every candidate that is installed."""
    if len(sys.argv) == 3:
        serve(sys.argv[1], int(sys.argv[2]))
        return
    for candidate, module in CANDIDATES.items():
        if importlib.util.find_spec(module) is None:
            print(json.dumps({"candidate": candidate, "skipped": f"{module} is not installed"}))
            continue
        port = free_port()
        process = subprocess.Popen([sys.executable, __file__, candidate, str(port)])
        try:
            wait_until_open(port, process)
            print(json.dumps({"candidate": candidate, **asyncio.run(measure(port, process.pid))}), flush=True)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


if __name__ == "__main__":
    main()
