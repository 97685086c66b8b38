"""Keeps a decoding process, and replaces it when an image killed it or took too long."""

from __future__ import annotations

import asyncio
import logging
import sys

log = logging.getLogger(__name__)

DECODE_SECONDS = 10.0
"""Longest for one image; the largest allowed one takes about 2 s on one core."""
WORKER_MODULE = "gemma_serving.gateway.media.worker"


class DecodeError(ValueError):
    """The image cannot be used; the text says why."""


class Decoder:
    """One worker, started with the first image; images queue for it."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def decode(self, data: bytes) -> bytes:
        """A PNG in RGB; raises DecodeError."""
        async with self._turn:
            process = await self._worker()
            try:
                async with asyncio.timeout(DECODE_SECONDS):
                    return await _ask(process, data)
            except TimeoutError:
                await self.close()
                raise DecodeError(f"it took more than {DECODE_SECONDS:.0f} s to decode") from None
            except (asyncio.IncompleteReadError, ConnectionError, BrokenPipeError):
                log.warning("an image ended its decoding process")
                await self.close()
                raise DecodeError("it ended its decoding process") from None
            except asyncio.CancelledError:
                # Half an answer is under way: the next image must not read it.
                await self.close()
                raise

    async def close(self) -> None:
        """End the worker."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def _worker(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                WORKER_MODULE,
                str(self._max_pixels),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                # Neither keys nor tokens of the gateway's environment reach the decoder.
                env={"PYTHONPATH": ":".join(filter(None, sys.path))},
            )
        return self._process


async def _ask(process: asyncio.subprocess.Process, data: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(len(data).to_bytes(4, "little") + data)
    await process.stdin.drain()
    size = int.from_bytes(await process.stdout.readexactly(4), "little")
    answer = await process.stdout.readexactly(size)
    if answer[:1] == b"-":
        raise DecodeError(answer[1:].decode())
    return answer[1:]
