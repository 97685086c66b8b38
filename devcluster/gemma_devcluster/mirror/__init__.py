"""A test server that speaks the Hugging Face protocol for a folder of models, and misbehaves on request.

    python -m gemma_devcluster.mirror --root FOLDER      # FOLDER/OWNER/NAME/files

Any model is also there under the owners of `PRESETS`: `gated/NAME` asks for a token, `cut/NAME` breaks
transfers off, `corrupt/NAME` flips a byte, `slow/NAME` dribbles. Tokens: `hf_accepted` opens gated
repositories, `hf_invalid` is unknown to the hub, any other belongs to an account that has not accepted the
licence.

Protocol: huggingface_hub 2.4 (`file_download.py`, `utils/_http.py`). Standard library only: the image carries
this package and the weights.
"""

import ssl
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from gemma_devcluster.mirror.handler import ACCEPTED_TOKEN, INVALID_TOKEN, Handler
from gemma_devcluster.mirror.state import PRESETS, Faults, Request, State, commit_of, files_of

__all__ = [
    "ACCEPTED_TOKEN",
    "INVALID_TOKEN",
    "PRESETS",
    "Faults",
    "Request",
    "WeightsMirror",
    "commit_of",
    "files_of",
]


class WeightsMirror:
    """The server, in a thread of its own.

    Args:
        root: folder of `OWNER/NAME/files`.
        host: address to listen on.
        port: 0 for any that is free.
        tls: serve https with this context.

    >>> with WeightsMirror(Path("models")) as mirror:  # doctest: +SKIP
    ...     HfApi(endpoint=mirror.url).model_info("owner/name")
    """

    def __init__(
        self, root: Path, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self._state = State(root, scheme="http" if tls is None else "https")
        handler = type("Handler", (Handler,), {"state": self._state})
        self._server = ThreadingHTTPServer((host, port), handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        return f"{self._state.scheme}://{host!s}:{port}"

    @property
    def requests(self) -> list[Request]:
        """Everything asked so far, oldest first."""
        with self._state.lock:
            return list(self._state.requests)

    def set_faults(self, repository: str, faults: Faults) -> None:
        """Make a repository misbehave from now on."""
        self._state.faults[repository] = faults

    def serve(self) -> None:
        """Answer until `close` is called."""
        self._server.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
