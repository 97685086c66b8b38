"""`gemma-operator run`: the controller, until it is told to stop."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gemma_operator.cli.catalog_files import catalog_in_force

if TYPE_CHECKING:
    from argparse import _SubParsersAction

DEFAULT_HEALTH_PORT = 8080
DEFAULT_METRICS_PORT = 9090


def register(subparsers: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser("run", help="run the controller")
    parser.add_argument(
        "--settings", type=Path, metavar="FILE", help="YAML file of OperatorSettings; default: all defaults"
    )
    parser.add_argument(
        "--catalog-overlay", metavar="FOLDER", help="catalogue files to lay over the shipped ones"
    )
    parser.add_argument(
        "--health-port", type=int, default=DEFAULT_HEALTH_PORT, help="port of /healthz and /readyz"
    )
    parser.add_argument("--metrics-port", type=int, default=DEFAULT_METRICS_PORT, help="port of /metrics")
    parser.add_argument(
        "--lease",
        metavar="NAMESPACE/NAME",
        help="work only while holding this Lease, so that another replica can stand by",
    )
    parser.add_argument("--verbose", action="store_true", help="log what kopf does, too")
    parser.add_argument(
        "--log-format", choices=("json", "text"), default="json", help="of each line (%(default)s)"
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    # Imported here, because kopf and the client take a second that the other commands need not wait.
    from gemma_operator.controller.health import Ports  # noqa: PLC0415
    from gemma_operator.controller.logs import handler_for  # noqa: PLC0415
    from gemma_operator.controller.process import Options, run  # noqa: PLC0415
    from gemma_operator.kube.errors import ClusterError  # noqa: PLC0415
    from gemma_operator.kube.lease import LeaseName, LeaseNameError  # noqa: PLC0415
    from gemma_operator.settings import SettingsError, parse_settings  # noqa: PLC0415

    level = logging.DEBUG if args.verbose else logging.INFO
    logging.basicConfig(level=level, handlers=[handler_for(args.log_format)])
    if not args.verbose:
        logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        text = args.settings.read_text() if args.settings is not None else ""
        settings = parse_settings(text, str(args.settings or "settings"))
        catalog = catalog_in_force(args.catalog_overlay)
        lease = None if args.lease is None else LeaseName.parse(args.lease)
        ports = Ports(args.health_port, args.metrics_port)
        asyncio.run(run(settings, catalog, Options(ports, lease)))
    except (OSError, SettingsError, LeaseNameError) as error:
        print(f"gemma-operator run: {error}", file=sys.stderr)
        return 2
    except ClusterError as error:
        print(f"gemma-operator run: {error}", file=sys.stderr)
        return 1
    return 0
