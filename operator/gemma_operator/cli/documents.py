"""Reading YAML files and standard input for the commands, with errors that name file, document and reason."""

import sys
from pathlib import Path
from typing import Any

import yaml

from gemma_operator.api.base import KIND
from gemma_operator.api.manifest import Manifest
from gemma_operator.settings import OperatorSettings, SettingsError, parse_settings

STANDARD_INPUT = "-"


class InputError(ValueError):
    """What was given cannot be used."""


def read_documents(path: str) -> list[Manifest]:
    """Every object in a file (`-`: standard input), those of lists included. Raises InputError."""
    try:
        text = sys.stdin.read() if path == STANDARD_INPUT else Path(path).read_text()
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {error}") from error
    return [item for document in documents for item in _items(path, document)]


def read_resources(path: str) -> list[Manifest]:
    """The GemmaDeployments of a file. Raises InputError when there is none."""
    resources = [document for document in read_documents(path) if document.get("kind") == KIND]
    if not resources:
        raise InputError(f"{path}: holds no {KIND}")
    unnamed = [resource for resource in resources if not (resource.get("metadata") or {}).get("name")]
    if unnamed:
        raise InputError(f"{path}: metadata.name: is required")
    return resources


def read_settings(path: str | None) -> OperatorSettings:
    """The operator's settings from a file; all defaults without one. Raises InputError."""
    if path is None:
        return OperatorSettings()
    try:
        return parse_settings(Path(path).read_text(), path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except SettingsError as error:
        raise InputError(str(error)) from error


def _items(path: str, document: Any) -> list[Manifest]:
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected an object, found {type(document).__name__}")
    if str(document.get("kind", "")).endswith("List"):
        return list(document.get("items") or ())
    return [document]
