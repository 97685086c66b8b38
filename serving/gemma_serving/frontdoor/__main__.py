"""`python -m gemma_serving.frontdoor`: read the arguments and serve."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import uvloop

from gemma_serving.contract import ContractError
from gemma_serving.frontdoor.app import FrontDoor, make_admin_app, make_app
from gemma_serving.frontdoor.books import Books
from gemma_serving.frontdoor.config import FrontDoorConfig
from gemma_serving.frontdoor.discovery import ACCOUNT, Discovery
from gemma_serving.frontdoor.fleet import Endpoint, EndpointState, Fleet
from gemma_serving.frontdoor.forwarding import Forwarder
from gemma_serving.frontdoor.holding import Waiting
from gemma_serving.gateway.logs import FORMATS, configure
from gemma_serving.gateway.server import listener

REMOVAL_SECONDS = 10.0
"""A terminating pod still gets requests until every proxy has dropped its endpoint."""
DRAIN_SECONDS = 900.0
LOOK_SECONDS = 0.2

log = logging.getLogger(__name__)


def make_door(config: FrontDoorConfig) -> FrontDoor:
    """Put the parts of one process together."""
    fleet, waiting = Fleet(config.routes), Waiting(config.max_held_requests)
    books = Books(fleet, waiting)
    return FrontDoor(fleet, waiting, books, Forwarder(fleet, waiting, books, config))


def take_up(door: FrontDoor, states: Mapping[Endpoint, EndpointState]) -> None:
    """The fleet as discovery sees it now; whoever waits for a pod that has come, or never will, goes on."""
    door.fleet.replace(states)
    door.knows_fleet = True
    door.forwarder.balance.retain({address for state in states.values() for address in state.addresses})
    for endpoint in door.waiting.endpoints():
        if endpoint not in states or states[endpoint].addresses:
            door.waiting.arrived(endpoint)


async def serve(config: FrontDoorConfig, host: str, ports: tuple[int, int], account: Path = ACCOUNT) -> None:
    """Serve until SIGTERM or SIGINT, then let requests end."""
    door = make_door(config)
    told = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, told.set)
    discovery = Discovery(config.namespaces, lambda states: take_up(door, states), account)
    public, admin = (
        listener(make_app(door), host, ports[0]),
        listener(make_admin_app(door), host, ports[1]),
    )
    tasks = [asyncio.create_task(work) for work in (public.serve(), admin.serve(), discovery.run())]
    waiter = asyncio.create_task(told.wait())
    await asyncio.wait([*tasks, waiter], return_when=asyncio.FIRST_COMPLETED)
    if told.is_set():
        await _drain(door)
    public.should_exit = admin.should_exit = True
    tasks[2].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    await door.close()
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _drain(door: FrontDoor) -> None:
    door.is_leaving = True
    await asyncio.sleep(REMOVAL_SECONDS)
    for _ in range(int(DRAIN_SECONDS / LOOK_SECONDS)):
        if not door.open_requests:
            return
        await asyncio.sleep(LOOK_SECONDS)


def main() -> int:
    """Exit status: 0 after a drain, 2 for a configuration that cannot be read."""
    parser = argparse.ArgumentParser(
        "gemma_serving.frontdoor", description="One OpenAI endpoint for a fleet."
    )
    parser.add_argument("--config", type=Path, required=True, help="front-door.json, written by the chart")
    parser.add_argument("--host", default="0.0.0.0", help="address of both ports (%(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="API port (%(default)s)")
    parser.add_argument("--admin-port", type=int, default=9090, help="probes and metrics (%(default)s)")
    parser.add_argument(
        "--account", type=Path, default=ACCOUNT, help="token and ca.crt of its service account (%(default)s)"
    )
    parser.add_argument("--log-format", choices=FORMATS, default=FORMATS[0], help="(%(default)s)")
    given = parser.parse_args()
    configure(given.log_format)
    # It tells of each request that it sends, which is each that comes in.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        config = FrontDoorConfig.from_json(given.config.read_bytes())
    except (OSError, ContractError) as error:
        print(f"cannot read {given.config}: {error}", file=sys.stderr)
        return 2
    uvloop.run(serve(config, given.host, (given.port, given.admin_port), given.account))
    return 0


if __name__ == "__main__":
    sys.exit(main())
