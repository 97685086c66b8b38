"""Triton's Python backend on one side, the engine host on the other; nothing is decided here.

The stub runs an isolated interpreter: its locale is C, so that libraries which read files as text die on the
first non-ASCII byte, and PYTHONPATH is ignored. Both are mended before anything else is imported.
"""

import locale
import os
import sys

locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
sys.path.extend(path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path)

import logging  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import triton_python_backend_utils as pb_utils  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from gemma_serving.contract import EVENT_TENSOR, MEDIA_TENSOR, REQUEST_TENSOR, RuntimeConfig  # noqa: E402
from gemma_serving.engines import create_engine  # noqa: E402
from gemma_serving.engines.host import EngineHost  # noqa: E402


class TritonResponder:
    """A Responder over Triton's response sender."""

    def __init__(self, sender: Any) -> None:
        self._sender = sender

    def send(self, text: str) -> None:
        """Send one event."""
        tensor = pb_utils.Tensor(EVENT_TENSOR, np.array([text.encode("utf-8", "replace")], dtype=np.object_))
        self._sender.send(pb_utils.InferenceResponse(output_tensors=[tensor]))

    def fail(self, message: str) -> None:
        """Send a Triton error."""
        self._sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError(message)))

    def finish(self) -> None:
        """Send the final flag."""
        self._sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def is_cancelled(self) -> bool:
        """Return whether the client has gone."""
        return bool(self._sender.is_cancelled())


class TritonPythonModel:
    """The model `gemma`."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the engine that runtime.json beside this file names; an exception fails the model's load."""
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        config = RuntimeConfig.from_json((HERE / "runtime.json").read_bytes())
        self._host = EngineHost(create_engine(config.engine), config)
        self._host.start()

    def execute(self, requests: list[Any]) -> None:
        """Hand each request to the engine; responses follow through its sender."""
        for request in requests:
            payload = pb_utils.get_input_tensor_by_name(request, REQUEST_TENSOR).as_numpy().reshape(-1)[0]
            media = pb_utils.get_input_tensor_by_name(request, MEDIA_TENSOR)
            items = [] if media is None else [bytes(item) for item in media.as_numpy().reshape(-1)]
            self._host.handle(bytes(payload), items, TritonResponder(request.get_response_sender()))

    def is_ready(self) -> bool:
        """Return whether the engine is alive (asked by Triton 26.03 and newer)."""
        return self._host.is_alive()

    def finalize(self) -> None:
        """Wait for running requests, then close the engine."""
        self._host.close()
