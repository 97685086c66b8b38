"""The operator at a thousand GemmaDeployments, and a naive one as control, as a table.

`make bench-operator`, or `python benchmarks/operator --help`.
"""

import argparse
import asyncio
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from load import DEPLOYMENT, Seen, create_foreign, create_resources, edit
from rich.console import Console
from rich.table import Table
from stand import Account, Counted, Program, administrator, bring_up

from gemma_devcluster.cluster import Cluster
from gemma_operator.api.manifest import Manifest
from gemma_operator.kube.apiserver import ApiServer
from gemma_operator.kube.kinds import GEMMA_DEPLOYMENT

SETTLE_SECONDS = 1800.0
"""At most, for the cluster's own controllers to come to rest: they are slower than the operator."""
QUIET_SECONDS = 10.0
"""Without a request of the operator's: it has answered everything that the controllers did."""
EDIT_SECONDS = 30.0
SCRAPE_SECONDS = 0.5
"""Between looks at the metrics page: each costs the operator some milliseconds."""
OBJECTIVES = {
    "all written (s)": "≤ 60 per 1,000",
    "all written (core s)": "",
    "writes each": "≤ 9",
    "GETs each": "0",
    "restart (s)": "≤ 5 per 1,000",
    "restart (core s)": "",
    "restart writes": "0",
    "edit p50 (s)": "",
    "edit p99 (s)": "≤ 1",
    "memory (MiB)": "≤ 150 at 1,000, ≤ 500 at 10,000",
    "peak memory (MiB)": "",
    "foreign objects add (MiB)": "≤ 10",
    "idle requests": "0",
    "idle core (%)": "≤ 1",
}


@dataclass
class Measured:
    """One operator's column."""

    name: str
    values: dict[str, str] = field(default_factory=dict)

    def note(self, what: str, value: float | str, digits: int = 1) -> None:
        """Keep a value, and say it, since the whole takes long."""
        self.values[what] = value if isinstance(value, str) else f"{value:.{digits}f}"
        console.print(f"  {self.name}: {what} {self.values[what]}")


@dataclass(frozen=True)
class Contender:
    """An operator to be measured."""

    name: str
    account: Account
    program: Program
    namespace: str
    handled: str
    """Its metric of reconciles that have ended."""


console = Console(highlight=False)


def status_is_written(resource: Manifest) -> bool:
    """Whether the operator has judged the newest generation."""
    status = resource.get("status") or {}
    return bool(status.get("observedGeneration") == resource["metadata"]["generation"])


async def quiet(contender: Contender, counted: Counted) -> None:
    """Until the operator has nothing more to say."""
    deadline = time.monotonic() + SETTLE_SECONDS
    before, since = -1, time.monotonic()
    while time.monotonic() < deadline:
        count = counted.writes(counted.requests())
        if count != before:
            before, since = count, time.monotonic()
        elif time.monotonic() - since >= QUIET_SECONDS:
            return
        await asyncio.sleep(1.0)
    raise RuntimeError(f"{contender.name} does not come to rest")


async def measure_creation(api: ApiServer, contender: Contender, count: int, measured: Measured) -> None:
    """From our first creation to the last status, and what it cost when all has come to rest."""
    counted = Counted(contender.account)
    async with Seen(status_is_written).watching(api, GEMMA_DEPLOYMENT, contender.namespace) as seen:
        used, begin = contender.program.cpu_seconds(), time.monotonic()
        creating = asyncio.create_task(create_resources(api, contender.namespace, count))
        if not await seen.until(count, SETTLE_SECONDS):
            raise RuntimeError(f"{contender.name} wrote {len(seen.at)} of {count} statuses")
        await creating
        measured.note("all written (s)", max(seen.at.values()) - begin)
        measured.note("all written (core s)", contender.program.cpu_seconds() - used)
    await quiet(contender, counted)
    requests = counted.requests()
    console.print(f"    {dict(requests)}")
    measured.note("writes each", counted.writes(requests) / count, digits=2)
    measured.note("GETs each", requests["get"] / count, digits=2)
    measured.note("peak memory (MiB)", contender.program.peak_mib())
    measured.note("memory (MiB)", contender.program.resident_mib())


async def measure_restart(contender: Contender, count: int, measured: Measured) -> None:
    """From the start of a new process to the last reconcile, with everything as it should be."""
    contender.program.end(signal.SIGKILL)
    counted = Counted(contender.account)
    begin = time.monotonic()
    contender.program.start()
    while contender.program.metric(contender.handled) < count:
        if time.monotonic() - begin > SETTLE_SECONDS:
            raise RuntimeError(f"{contender.name} does not come back")
        await asyncio.sleep(SCRAPE_SECONDS)
    measured.note("restart (s)", time.monotonic() - begin)
    measured.note("restart (core s)", contender.program.cpu_seconds())
    await quiet(contender, counted)
    measured.note("restart writes", float(counted.writes(counted.requests())), digits=0)
    measured.note("memory (MiB)", contender.program.resident_mib())


async def measure_edits(api: ApiServer, contender: Contender, count: int, measured: Measured) -> None:
    """The time from our edit's answer to the watch event of the Deployment, one edit after another."""
    taken = []
    for number in range(0, count, max(1, count // 100)):
        name = f"gemma-{number:05}"

        def scaled(manifest: Manifest, name: str = name) -> bool:
            return bool(manifest["metadata"]["name"] == name and manifest["spec"]["replicas"] == 0)

        async with Seen(scaled).watching(api, DEPLOYMENT, contender.namespace) as seen:
            begin = time.monotonic()
            await edit(api, contender.namespace, name, replicas=0)
            if not await seen.until(1, EDIT_SECONDS):
                raise RuntimeError(f"{contender.name} did not act on an edit within {EDIT_SECONDS} s")
            taken.append(seen.at[name] - begin)
    measured.note("edit p50 (s)", statistics.median(taken), digits=2)
    measured.note("edit p99 (s)", statistics.quantiles(taken, n=100)[-1], digits=2)


async def measure_foreign(api: ApiServer, contender: Contender, foreign: int, measured: Measured) -> None:
    """What objects of others cost in memory."""
    before = contender.program.resident_mib()
    await create_foreign(api, "foreign", foreign)
    measured.note("foreign objects add (MiB)", contender.program.resident_mib() - before)


async def measure_idle(contender: Contender, seconds: float, measured: Measured) -> None:
    """What it does while nothing happens."""
    await quiet(contender, Counted(contender.account))
    counted, used, begin = Counted(contender.account), contender.program.cpu_seconds(), time.monotonic()
    await asyncio.sleep(seconds)
    requests = counted.requests()
    idle = sum(number for verb, number in requests.items() if verb != "watch")
    measured.note("idle requests", float(idle), digits=0)
    share = (contender.program.cpu_seconds() - used) / (time.monotonic() - begin)
    measured.note("idle core (%)", 100 * share, digits=2)


async def measure(api: ApiServer, contender: Contender, options: argparse.Namespace) -> Measured:
    """One column."""
    measured = Measured(contender.name)
    with contender.program.running():
        await measure_creation(api, contender, options.count, measured)
        await measure_restart(contender, options.count, measured)
        await measure_edits(api, contender, options.count, measured)
        if options.foreign:
            await measure_foreign(api, contender, options.foreign, measured)
        if options.idle_seconds:
            await measure_idle(contender, options.idle_seconds, measured)
    return measured


def contenders(cluster: Cluster, folder: Path, options: argparse.Namespace) -> list[Callable[[], Contender]]:
    """The operator and the naive one, each in a namespace of its own, made when its turn comes."""

    def ours() -> Contender:
        account, namespace = Account(cluster, "operator"), "bench-operator"
        settings = folder / "settings.yaml"
        settings.write_text(yaml.safe_dump({"watchNamespaces": [namespace]}))
        arguments = ["-m", "gemma_operator", "run", "--settings", str(settings)]
        arguments += ["--health-port", "0", "--metrics-port", "0"]
        program = Program(arguments, account.kubeconfig(folder), folder / "operator.log", options.core)
        return Contender("operator", account, program, namespace, "gemma_operator_reconcile_seconds_count")

    def naive() -> Contender:
        account, namespace = Account(cluster, "naive"), "bench-naive"
        arguments = [str(Path(__file__).with_name("naive.py")), namespace]
        program = Program(arguments, account.kubeconfig(folder), folder / "naive.log", options.core)
        return Contender("naive", account, program, namespace, "naive_handled_total")

    return [ours, naive][: 1 if options.no_control else 2]


async def run(options: argparse.Namespace) -> list[Measured]:
    """Measure one operator after the other on the same cluster."""
    cluster = bring_up()
    async with AsyncExitStack() as stack:
        api = await administrator(cluster)
        stack.push_async_callback(api.close)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        columns = []
        try:
            for make in contenders(cluster, folder, options):
                contender = make()
                for name in (contender.namespace, "foreign"):
                    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
                    cluster.kubectl.apply([namespace])
                columns.append(await measure(api, contender, options))
        finally:
            if not options.keep:
                cluster.down()
        return columns


def table(columns: list[Measured], options: argparse.Namespace) -> Table:
    """What was measured beside what was aimed at. The load says how much of the machine was left."""
    load = os.getloadavg()[0]
    title = f"{options.count} GemmaDeployments, operator on one core of {os.cpu_count()} (load {load:.1f})"
    result = Table(title=title)
    result.add_column("")
    for column in columns:
        result.add_column(column.name, justify="right")
    result.add_column("objective")
    for what, objective in OBJECTIVES.items():
        cells = [column.values.get(what, "–") for column in columns]
        if any(cell != "–" for cell in cells):
            result.add_row(what, *cells, objective)
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000, help="GemmaDeployments (default: %(default)s)")
    parser.add_argument("--foreign", type=int, default=10000, help="foreign pods, and as many Secrets")
    parser.add_argument("--idle-seconds", type=float, default=600.0, help="how long to watch it do nothing")
    parser.add_argument("--core", type=int, default=0, help="the core that the operator runs on")
    parser.add_argument("--no-control", action="store_true", help="leave the naive operator out")
    parser.add_argument("--keep", action="store_true", help="leave the cluster up")
    options = parser.parse_args()
    console.print(table(asyncio.run(run(options)), options))


if __name__ == "__main__":
    main()
