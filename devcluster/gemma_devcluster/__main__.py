"""The command line `devcluster`."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from gemma_devcluster import autoscaling, builder, demo, prerequisites
from gemma_devcluster.cluster import Cluster
from gemma_devcluster.errors import DevclusterError
from gemma_devcluster.images import cli as images
from gemma_devcluster.layout import DEFAULT_NAME, default_state_root
from gemma_devcluster.nodes import parse_gpus

# `status` of a cluster that is not (wholly) up; the exit codes of init scripts say 3 for "not running".
EXIT_NOT_RUNNING = 3

_out = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Run one command and return its exit code."""
    arguments = _parser().parse_args()
    try:
        return int(arguments.command(arguments) or 0)
    except DevclusterError as error:
        print(f"devcluster: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("devcluster: interrupted; `devcluster up` goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="devcluster", description="A real Kubernetes on this machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--name", default=DEFAULT_NAME, help="cluster name (default: %(default)s)")
    shared.add_argument("--state-dir", type=Path, default=default_state_root(), help="default: %(default)s")

    up = commands.add_parser("up", parents=[shared], help="start what is not running, until nodes are Ready")
    up.add_argument(
        "--gpus",
        action="append",
        metavar="ACCELERATOR=COUNT",
        help="add a node that says it has these (simulated) GPUs, for instance nvidia-l4=4; repeatable",
    )
    up.add_argument(
        "--with",
        dest="extras",
        action="append",
        default=[],
        choices=["autoscaling"],
        help="autoscaling: KEDA, Prometheus and metrics APIs, as pods; a first build takes over 10 min",
    )
    up.set_defaults(command=_up)
    down = commands.add_parser("down", parents=[shared], help="end the cluster and delete its data")
    down.set_defaults(command=_down)
    status = commands.add_parser("status", parents=[shared], help="processes, nodes and addresses")
    status.set_defaults(command=_status)

    kubeconfig = commands.add_parser(
        "kubeconfig", parents=[shared], help="print an administrator's kubeconfig"
    )
    kubeconfig.add_argument("--path", action="store_true", help="print the file's path instead")
    kubeconfig.set_defaults(command=_kubeconfig)
    load = commands.add_parser("load-image", parents=[shared], help="import OCI or docker archives")
    load.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE.tar")
    load.set_defaults(command=_load_image)
    logs = commands.add_parser("logs", parents=[shared], help="print a component's log, or the logs' names")
    logs.add_argument("component", nargs="?")
    logs.add_argument("-n", "--lines", type=int, default=100)
    logs.add_argument("-f", "--follow", action="store_true")
    logs.set_defaults(command=_logs)

    binaries = commands.add_parser("binaries", help="build the programs and print the folder they are in")
    binaries.set_defaults(command=_binaries)
    needs = commands.add_parser("prerequisites", help="name the Debian packages that are missing")
    needs.add_argument("--install", action="store_true", help="install them with apt-get")
    needs.set_defaults(command=_prerequisites)
    images.register(commands)
    demo.register(commands)
    return parser


def _cluster(arguments: argparse.Namespace) -> Cluster:
    gpus = getattr(arguments, "gpus", None)
    return Cluster(arguments.name, arguments.state_dir, parse_gpus(gpus) if gpus else None)


def _up(arguments: argparse.Namespace) -> None:
    begun = time.monotonic()
    cluster = _cluster(arguments)
    cluster.up()
    if "autoscaling" in arguments.extras:
        autoscaling.install(cluster)
    names = ", ".join(node.name for node in cluster.nodes)
    _out.print(f"cluster {cluster.name} is up after {time.monotonic() - begun:.0f} s; Ready: {names}")
    _out.print(f"  export KUBECONFIG={cluster.kubeconfig()}")
    _out.print(f"  export PATH={cluster.binaries.folder}:$PATH    # kubectl, helm, ctr")
    if "autoscaling" in arguments.extras:
        _out.print("  KEDA is in the namespace keda, prometheus-adapter in monitoring; for the chart:")
        _out.print(f"    --set settings.scaling.prometheusUrl={autoscaling.PROMETHEUS_URL}")
        _out.print("    --set frontDoor.enabled=true")


def _down(arguments: argparse.Namespace) -> None:
    existed = _cluster(arguments).down()
    _out.print(f"cluster {arguments.name} {'is gone' if existed else 'was not there'}")


def _status(arguments: argparse.Namespace) -> int:
    cluster = _cluster(arguments)
    if not cluster.exists():
        _out.print(f"cluster {cluster.name} does not exist; `devcluster up --name {cluster.name}` makes it")
        return EXIT_NOT_RUNNING
    pids = {component.name: cluster.machine.pid(component.name) for component in cluster.components()}
    for name, pid in pids.items():
        _out.print(
            f"{name:<{max(map(len, pids))}}  {f'process {pid} in the machine' if pid else 'not running'}"
        )
    addresses = cluster.addresses
    init = cluster.machine.init()
    running = f"process {init.pid}" if init else "not running"
    _out.print(f"machine     {running}, link {addresses.host_link}")
    _out.print(f"API server  {addresses.api_server_url}, audit log {cluster.layout.audit_log}")
    _out.print(f"addresses   host {addresses.host}, pods {addresses.pods}, Services {addresses.services}")
    if not all(pids.values()):
        _out.print(f"not all is running: `devcluster up --name {cluster.name}` starts what is missing")
        return EXIT_NOT_RUNNING
    _out.print(cluster.kubectl.run("get", "nodes", "-o", "wide").rstrip())
    return 0


def _kubeconfig(arguments: argparse.Namespace) -> None:
    path = _cluster(arguments).kubeconfig()
    print(path if arguments.path else path.read_text(), end="\n" if arguments.path else "")


def _load_image(arguments: argparse.Namespace) -> None:
    cluster = _cluster(arguments)
    for archive in arguments.archives:
        names = cluster.load_image(archive)
        _out.print(f"{archive}: {', '.join(names)}")


def _logs(arguments: argparse.Namespace) -> int:
    layout = _cluster(arguments).layout
    names = sorted(path.stem for path in layout.logs.glob("*.log"))
    if not arguments.component:
        print("\n".join(names))
        return 0
    if arguments.component not in names:
        raise DevclusterError(f"no log {arguments.component!r}; there are {', '.join(names) or 'none'}")
    command = ["tail", "-n", str(arguments.lines), *(["-f"] if arguments.follow else [])]
    return subprocess.run([*command, str(layout.log(arguments.component))], check=False).returncode


def _binaries(_: argparse.Namespace) -> None:
    print(builder.ensure().folder)


def _prerequisites(arguments: argparse.Namespace) -> int:
    if arguments.install:
        prerequisites.require_root()
        installed = prerequisites.install()
        _out.print(f"installed {', '.join(installed)}" if installed else "nothing was missing")
        return 0
    absent = prerequisites.missing(prerequisites.EVERYTHING)
    if absent:
        _out.print(f"missing: {', '.join(absent)}\n  do: {prerequisites.install_command(absent)}")
        return 1
    _out.print("nothing is missing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
