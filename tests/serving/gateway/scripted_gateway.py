"""A gateway process in front of the scripted engine: what the tests signal, count and measure.

python scripted_gateway.py CONFIG PORT ADMIN_PORT HANDSHAKE TOKENS DELAY_SECONDS [WORD]
"""

import sys
from pathlib import Path

import uvloop
from scripted import Script, ScriptedUpstream

from gemma_serving.contract import RuntimeConfig
from gemma_serving.gateway.server import Addresses, serve


def main() -> None:
    """Serve until SIGTERM."""
    settings, port, admin_port, handshake, tokens, delay, *word = sys.argv[1:]
    script = Script(
        [f"{word[0] if word else 'token'}{i} " for i in range(int(tokens))], delay_seconds=float(delay)
    )
    addresses = Addresses("127.0.0.1", int(port), int(admin_port), handshake=Path(handshake))
    runtime = RuntimeConfig.from_json(Path(settings).read_text())
    uvloop.run(serve(runtime, ScriptedUpstream(lambda _: script), addresses))


if __name__ == "__main__":
    main()
