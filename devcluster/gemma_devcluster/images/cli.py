"""`devcluster images build`."""

import argparse
import json
from dataclasses import asdict

from gemma_devcluster import images
from gemma_devcluster.images.recipes import MEGABYTE, RECIPES, Recipe


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the `images` command; its handler is `command(arguments) -> exit code`."""
    commands = subparsers.add_parser("images", help="build the project's images").add_subparsers(
        required=True
    )
    parser = commands.add_parser("build", help="build what has changed, and print each image's reference")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="one of " + ", ".join(recipe.name for recipe in RECIPES),
    )
    parser.add_argument("--base", help="base from a registry, instead of a Debian made here")
    parser.add_argument("--output", choices=["text", "json"], default="text")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Build and print.

    Raises:
        DevclusterError: see `images.build`.
    """
    base = images.public_base(arguments.base) if arguments.base else None
    built = images.build(arguments.only, base=base)
    if arguments.output == "json":
        print(json.dumps({name: asdict(image) for name, image in built.items()}, default=str, indent=2))
        return 0
    budgets = {recipe.name: recipe for recipe in RECIPES}
    for name, image in built.items():
        print(f"{image.reference}  {_sizes(image, budgets[name])}")
    return 0


def _sizes(image: images.Image, recipe: Recipe) -> str:
    text = f"{image.size_bytes / MEGABYTE:.0f} MB, {image.added_bytes / MEGABYTE:.0f} MB over the base"
    if recipe.budget_bytes is None:
        return text
    verdict = "within" if image.added_bytes <= recipe.budget_bytes else "ABOVE"
    return f"{text} ({verdict} the budget of {recipe.budget_bytes / MEGABYTE:.0f} MB)"
