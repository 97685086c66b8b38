"""`gemma-operator doctor`: whether a cluster has what the operator needs, and what to do where it has not."""

import argparse
import sys
from collections.abc import Awaitable, Callable, Sequence

from rich.text import Text

from gemma_operator.api.manifest import MANAGED_BY_LABEL, MANAGER
from gemma_operator.catalog import load_catalog
from gemma_operator.cli.console import new_table, output_console
from gemma_operator.cli.findings import (
    Finding,
    Level,
    back_end_findings,
    driver_findings,
    node_findings,
    permission_findings,
    pod_findings,
    schema_finding,
    secret_findings,
    storage_findings,
)
from gemma_operator.kube.apiserver import ApiServer, Request
from gemma_operator.kube.errors import ClusterError, ForbiddenError
from gemma_operator.kube.kinds import GEMMA_DEPLOYMENT, NODE, POD, rbac_rules
from gemma_operator.kube.look import is_allowed, listed, looking, missing_fields, names_in

_STYLES = {Level.OK: "green", Level.NOTE: "yellow", Level.BAD: "bold red"}
EXAMPLES = """examples:
  gemma-operator doctor
  gemma-operator doctor --service-account gemma-system/gemma-operator

Of Secrets only the names are read.

exit codes: 0 nothing is wrong, 1 something is, 2 the cluster cannot be asked
"""

Look = Callable[[ApiServer, argparse.Namespace], Awaitable[list[Finding]]]


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "doctor",
        help="check a cluster: CRD, permissions, accelerators, back ends, storage, Secrets, pods",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--service-account",
        metavar="NAMESPACE/NAME",
        help="whose permissions to check; default: those of whoever asks",
    )
    parser.add_argument(
        "--namespace", metavar="NAME", help="check permissions and resources here; default: in all"
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    async def look(api: ApiServer) -> list[Finding]:
        return [finding for check in _CHECKS for finding in await _tried(check, api, args)]

    try:
        findings = looking(look)
    except ClusterError as error:
        print(f"gemma-operator doctor: {error}", file=sys.stderr)
        return 2
    _show(findings)
    return 1 if any(finding.level is Level.BAD for finding in findings) else 0


async def _tried(check: Look, api: ApiServer, args: argparse.Namespace) -> list[Finding]:
    """What you may not see is a note: the operator may."""
    try:
        return await check(api, args)
    except ForbiddenError as error:
        return [Finding(Level.NOTE, check.__name__.strip("_"), f"not checked: {error}")]


def _show(findings: Sequence[Finding]) -> None:
    console = output_console()
    table = new_table(console, "", "subject", "found")
    for finding in findings:
        table.add_row(
            Text(finding.level.value, style=_STYLES[finding.level]), finding.subject, finding.message
        )
    console.print(table)


async def _crd(api: ApiServer, _: argparse.Namespace) -> list[Finding]:
    return [schema_finding(await missing_fields(api))]


async def _permissions(api: ApiServer, args: argparse.Namespace) -> list[Finding]:
    user = None
    if args.service_account is not None:
        user = "system:serviceaccount:" + args.service_account.replace("/", ":")
    denied = [
        f"{verb} {resource}" + (f" of {group}" if group else "")
        for rule in rbac_rules()
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if not await is_allowed(
            api, user, group, resource, verb, None if resource == NODE.plural else args.namespace
        )
    ]
    return permission_findings(args.service_account or "you", denied)


async def _accelerators(api: ApiServer, _: argparse.Namespace) -> list[Finding]:
    nodes, catalog = await listed(api, NODE.path(None)), load_catalog()
    return [*node_findings(nodes, catalog), *driver_findings(nodes, catalog)]


async def _back_ends(api: ApiServer, _: argparse.Namespace) -> list[Finding]:
    groups = await api.send(Request("GET", "/apis"))
    return back_end_findings(group["name"] for group in groups["groups"])


async def _storage(api: ApiServer, _: argparse.Namespace) -> list[Finding]:
    return storage_findings(await listed(api, "/apis/storage.k8s.io/v1/storageclasses"))


async def _secrets(api: ApiServer, args: argparse.Namespace) -> list[Finding]:
    resources = await listed(api, GEMMA_DEPLOYMENT.path(args.namespace))
    namespaces = sorted({resource["metadata"]["namespace"] for resource in resources})
    present = [
        (namespace, name)
        for namespace in namespaces
        for name in await names_in(api, f"/api/v1/namespaces/{namespace}/secrets")
    ]
    return secret_findings(resources, present)


async def _pods(api: ApiServer, args: argparse.Namespace) -> list[Finding]:
    mine = {"labelSelector": f"{MANAGED_BY_LABEL}={MANAGER}"}
    return pod_findings(await listed(api, POD.path(args.namespace), mine))


_CHECKS: tuple[Look, ...] = (_crd, _permissions, _accelerators, _back_ends, _storage, _secrets, _pods)
