"""`python -m gemma_serving.gateway`: read the arguments and serve."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import uvloop

from gemma_serving.contract import ContractError, RuntimeConfig
from gemma_serving.gateway.logs import FORMATS, configure
from gemma_serving.gateway.server import Addresses, serve
from gemma_serving.gateway.upstream import TritonUpstream


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Command line of the gateway."""
    default = Addresses()
    parser = argparse.ArgumentParser(
        "gemma_serving.gateway", description="OpenAI endpoint of a GemmaDeployment pod."
    )
    parser.add_argument("--config", type=Path, required=True, help="runtime.json, written by the operator")
    parser.add_argument("--host", default=default.host, help="address of both ports (%(default)s)")
    parser.add_argument("--port", type=int, default=default.port, help="API port (%(default)s)")
    parser.add_argument(
        "--admin-port", type=int, default=default.admin_port, help="probes and metrics (%(default)s)"
    )
    parser.add_argument("--triton", default=default.triton, help="Triton's gRPC address (%(default)s)")
    parser.add_argument(
        "--triton-metrics", default=default.triton_metrics_url, help="Triton's page (%(default)s)"
    )
    parser.add_argument(
        "--handshake", type=Path, default=default.handshake, help="written when drained (%(default)s)"
    )
    parser.add_argument("--log-format", choices=FORMATS, default=FORMATS[0], help="(%(default)s)")
    return parser.parse_args(arguments)


async def run(config: RuntimeConfig, addresses: Addresses) -> None:
    """Serve in front of Triton."""
    await serve(config, TritonUpstream(addresses.triton), addresses)


def main() -> int:
    """Exit status: 0 after a drain, 2 for a configuration that cannot be read."""
    given = parse_arguments(sys.argv[1:])
    configure(given.log_format)
    try:
        config = RuntimeConfig.from_json(given.config.read_bytes())
    except (OSError, ContractError) as error:
        print(f"cannot read {given.config}: {error}", file=sys.stderr)
        return 2
    addresses = Addresses(
        given.host,
        given.port,
        given.admin_port,
        given.triton,
        given.triton_metrics,
        given.handshake,
        given.config,
    )
    uvloop.run(run(config, addresses))
    return 0


if __name__ == "__main__":
    sys.exit(main())
