"""`gemma-operator render`: the objects that the operator would make, for review, policy tests and diffs."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import yaml

from gemma_operator.api.manifest import Manifest, Owner
from gemma_operator.api.read import SpecError, read_spec
from gemma_operator.catalog.load import load_catalog
from gemma_operator.cli.documents import InputError, read_documents, read_resources, read_settings
from gemma_operator.planning.inventory import Inventory, inventory_from_nodes
from gemma_operator.planning.plan import Refusal
from gemma_operator.planning.planner import make_plan
from gemma_operator.resources.autoscaling import Moment, Offers, arrangement_for
from gemma_operator.resources.desired import desired_objects
from gemma_operator.resources.gatewayapi import gateway_objects
from gemma_operator.settings import OperatorSettings

DEFAULT_NAMESPACE = "default"


class RefusedError(Exception):
    """A spec cannot be served; the text says what is needed, what there is, what to change."""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser("render", help="print the objects that the operator would make")
    parser.add_argument("file", metavar="FILE", help="YAML with GemmaDeployments; - reads standard input")
    parser.add_argument("--settings", metavar="FILE", help="the operator's settings; default: all defaults")
    parser.add_argument(
        "--nodes",
        metavar="FILE",
        help="output of `kubectl get nodes -o yaml`; default: plan against the whole catalogue",
    )
    parser.add_argument("--namespace", default=DEFAULT_NAMESPACE, help="for resources that name none")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    try:
        settings = read_settings(args.settings)
        nodes = read_documents(args.nodes) if args.nodes else []
        resources = read_resources(args.file)
        manifests = [m for r in resources for m in render(r, settings, nodes, args.namespace)]
    except (InputError, SpecError) as error:
        print(f"gemma-operator render: {error}", file=sys.stderr)
        return 2
    except RefusedError as error:
        print(f"gemma-operator render: {error}", file=sys.stderr)
        return 1
    sys.stdout.write(to_yaml(manifests))
    return 0


def render(
    resource: Manifest, settings: OperatorSettings, nodes: Sequence[Manifest], namespace: str
) -> list[Manifest]:
    """The children of one resource. Raises SpecError and RefusedError.

    A resource that is not in a cluster yet has no uid, so its children name no owner: the garbage collector
    would delete at once what refers to an owner that does not exist.
    """
    metadata = resource["metadata"]
    try:
        spec = read_spec(resource, strict=True)
    except SpecError as error:
        raise SpecError(f"{metadata['name']}: {error}") from error
    catalog = load_catalog()
    inventory = inventory_from_nodes(nodes, catalog) if nodes else Inventory()
    plan = make_plan(spec, catalog, settings.planning(), inventory)
    if isinstance(plan, Refusal):
        raise RefusedError(f"{metadata['name']}: {plan.reason.value}: {plan.message}")
    owner = Owner(
        name=metadata["name"],
        namespace=metadata.get("namespace", namespace),
        uid=metadata.get("uid", ""),
        generation=metadata.get("generation", 1),
    )
    # As on a cluster with KEDA, which is what most have that scale at all.
    moment = Moment(datetime.now(UTC), Offers(keda=True, autoscaling_metrics=True))
    arrangement = arrangement_for(owner, spec, plan, settings, moment)
    scalers = () if arrangement is None else arrangement.objects
    routes = gateway_objects(owner, settings.gateway_api, lambda _: True)
    manifests = (*desired_objects(owner, spec, plan, settings), *routes, *scalers)
    return list(manifests) if owner.uid else [_without_owner(manifest) for manifest in manifests]


def to_yaml(manifests: Sequence[Manifest]) -> str:
    """A stream of documents, keys in the order in which they were rendered."""
    return yaml.dump_all(manifests, Dumper=_Dumper, sort_keys=False, explicit_start=True, width=110)


def _without_owner(manifest: Manifest) -> Manifest:
    metadata = {key: value for key, value in manifest["metadata"].items() if key != "ownerReferences"}
    return {**manifest, "metadata": metadata}


class _Dumper(yaml.SafeDumper):
    """Text of several lines as a block, and no anchors."""

    def ignore_aliases(self, data: object) -> bool:
        """Write every value out."""
        return True


def _as_block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _as_block)
