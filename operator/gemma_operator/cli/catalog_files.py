"""A catalogue overlay from files: the ConfigMap of a platform team, mounted, or a folder on a desk."""

import logging
from pathlib import Path

from gemma_operator.catalog import Catalog, OverlayError, load_catalog, with_overlay
from gemma_operator.cli.documents import InputError

logger = logging.getLogger(__name__)


def read_overlay(path: str) -> dict[str, str]:
    """File name → text of the YAML files of a folder, or of one file. Raises InputError."""
    place = Path(path)
    files = sorted(place.glob("*.yaml")) if place.is_dir() else [place]
    try:
        return {file.name: file.read_text(encoding="utf-8") for file in files}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}") from error


def catalog_from(path: str | None) -> Catalog:
    """The shipped catalogue with the overlay on it. Raises InputError, so that a desk sees the mistake."""
    if path is None:
        return load_catalog()
    try:
        return with_overlay(read_overlay(path))
    except OverlayError as error:
        raise InputError(str(error)) from error


def catalog_in_force(path: str | None) -> Catalog:
    """The same for the running operator: a bad overlay is logged and the shipped data stays in force."""
    try:
        return catalog_from(path)
    except InputError as error:
        logger.error("the catalogue overlay is refused, the shipped data stays in force: %s", error)
        return load_catalog()
