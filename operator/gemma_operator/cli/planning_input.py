"""What the planning commands read: a spec from a file or from flags, the catalogue, the cluster's nodes."""

import argparse

from pydantic import ValidationError

from gemma_operator.api.read import SpecError, read_spec
from gemma_operator.api.v1alpha1 import EngineName, GemmaDeploymentSpec, Optimization, Precision
from gemma_operator.cli.catalog_files import catalog_from
from gemma_operator.cli.documents import InputError, read_documents, read_resources
from gemma_operator.planning.inventory import Inventory, inventory_from_nodes
from gemma_operator.planning.place import World
from gemma_operator.settings import PlanningSettings

FLAGS = (
    ("variant", ("model", "variant")),
    ("precision", ("model", "precision")),
    ("optimization", ("model", "optimization")),
    ("context", ("model", "contextLength")),
    ("engine", ("engine", "name")),
    ("accelerator", ("hardware", "accelerator")),
    ("count", ("hardware", "count")),
    ("cpu", ("hardware", "cpu")),
    ("memory", ("hardware", "memory")),
    ("concurrency", ("capacity", "maxConcurrentRequests")),
)
"""Flag, and the spec field it stands for."""


def add_spec_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that describe a spec without a file."""
    flags = parser.add_argument_group("a spec in flags")
    flags.add_argument("--variant", help="catalogue key, such as gemma-3-4b-it")
    flags.add_argument("--precision", choices=[one.value for one in Precision])
    flags.add_argument("--optimization", choices=[one.value for one in Optimization])
    flags.add_argument("--context", type=int, metavar="TOKENS")
    flags.add_argument("--engine", choices=[one.value for one in EngineName])
    flags.add_argument("--accelerator", help="catalogue key such as nvidia-l4, cpu, or Auto")
    flags.add_argument("--count", type=int, help="accelerators per replica")
    flags.add_argument("--cpu", help="cores of the engine container")
    flags.add_argument("--memory", help="host memory of the engine container")
    flags.add_argument("--concurrency", type=int, metavar="REQUESTS")


def add_world_arguments(parser: argparse.ArgumentParser) -> None:
    """What to plan against."""
    parser.add_argument(
        "--nodes", metavar="FILE", help="output of `kubectl get nodes -o yaml`; default: the whole catalogue"
    )
    parser.add_argument(
        "--overlay",
        metavar="PATH",
        help="catalogue files (a folder, or one file) to lay over the shipped ones",
    )


def world_of(args: argparse.Namespace) -> World:
    """Catalogue, settings and nodes that the arguments name. Raises InputError.

    Offline nobody can give a token, so gated repositories are planned and not refused.
    """
    catalog = catalog_from(args.overlay)
    nodes = read_documents(args.nodes) if args.nodes else []
    inventory = inventory_from_nodes(nodes, catalog) if args.nodes else Inventory()
    return World(catalog, PlanningSettings(require_token=False), inventory)


def spec_of(args: argparse.Namespace) -> GemmaDeploymentSpec:
    """The spec from the file, or from the flags. Raises InputError."""
    if args.file is not None:
        return _from_file(args.file)
    if args.variant is None:
        raise InputError("give a FILE (or - for standard input), or --variant")
    fields: dict[str, dict[str, object]] = {}
    for flag, (group, field) in FLAGS:
        value = getattr(args, flag)
        if value is not None:
            fields.setdefault(group, {})[field] = value
    try:
        return GemmaDeploymentSpec.model_validate(fields, extra="forbid")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{place}: {first['msg']} (found {first['input']!r})") from error


def _from_file(path: str) -> GemmaDeploymentSpec:
    resources = read_resources(path)
    if len(resources) > 1:
        names = ", ".join(resource["metadata"]["name"] for resource in resources)
        raise InputError(f"{path}: holds several GemmaDeployments ({names}); plan one at a time")
    try:
        return read_spec(resources[0], strict=True)
    except SpecError as error:
        raise InputError(f"{path}: {error}") from error
