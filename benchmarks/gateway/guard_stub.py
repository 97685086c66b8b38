"""A guard that answers "No" at once: what is left is the gateway's own part of a judgement.

python guard_stub.py PORT
"""

import json
import sys
from typing import Any

import uvicorn

HEADERS = [(b"content-type", b"application/json")]
TOP = {"No": -0.01, "Yes": -4.6}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """One choice for each prompt."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    prompts = json.loads(body)["prompt"]
    choices = [{"index": n, "text": "No", "logprobs": {"top_logprobs": [TOP]}} for n in range(len(prompts))]
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": json.dumps({"choices": choices}).encode()})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", log_level="warning")
