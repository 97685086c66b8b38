"""Reading a request's body within its limit."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request

from gemma_serving.gateway.errors import ApiError

MAX_BODY_BYTES = 32 * 2**20
"""Room for several images in base64; Triton's side takes far more."""


def too_large() -> ApiError:
    """413: the body is larger than any request may be."""
    return ApiError(413, f"The body is larger than {MAX_BODY_BYTES // 2**20} MiB.", code="request_too_large")


async def read_body(request: Request) -> bytes:
    """The whole body; raises ApiError 413, before reading it where the length is announced."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > MAX_BODY_BYTES:
        raise too_large()
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise too_large()
            chunks.append(chunk)
    except ClientDisconnect:
        raise ApiError(499, "The client went away before the body was complete.") from None
    return b"".join(chunks)
