"""A scripted OpenAI server at a set pace, for LiteLLM to stand in front of.

python openai_stub.py PORT PACE_SECONDS BURST
"""

import asyncio
import json
import sys
from typing import Any

import uvicorn

PACE_SECONDS, BURST = float(sys.argv[2]), int(sys.argv[3])
HEADERS = [(b"content-type", b"text/event-stream")]


def event(delta: dict[str, str], reason: str | None = None) -> bytes:
    """One chunk."""
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "demo", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n".encode()


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Stream `max_tokens` tokens."""
    if scope["type"] != "http":
        return
    body = b""
    while (message := await receive()).get("body"):
        body += message["body"]
        if not message.get("more_body"):
            break
    tokens = json.loads(body).get("max_tokens", 16) if body else 16
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    said, role = 0, {"role": "assistant", "content": ""}
    await send({"type": "http.response.body", "body": event(role), "more_body": True})
    while said < tokens:
        count = min(BURST, tokens - said)
        said += count
        # Numbered: LiteLLM ends a stream that repeats itself.
        chunk = event({"content": "".join(f"tok {n} " for n in range(said - count, said))})
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await asyncio.sleep(PACE_SECONDS)
    end = event({}, "length") + b"data: [DONE]\n\n"
    await send({"type": "http.response.body", "body": end, "more_body": False})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", log_level="warning")
