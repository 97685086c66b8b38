"""Rows of engine_arguments.yaml: what each engine version knows, and what may not be given."""

from collections.abc import Iterable, Mapping

from gemma_operator.api.v1alpha1 import EngineName
from gemma_operator.catalog.rows import Row


class ArgumentTable(Row):
    """Names that one engine version accepts."""

    engine: EngineName
    version: str
    base: str | None = None
    """Version of an earlier row that this one starts from."""
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class RefusedArguments(Row):
    """Names that exist and may not be given."""

    engine: EngineName
    planned: tuple[str, ...]
    """The plan decides them."""
    unsafe: tuple[str, ...]
    """They run code, read files, or open the engine beside the gateway."""


KnownArguments = Mapping[tuple[EngineName, str], frozenset[str]]
"""(engine, version) to the names it accepts."""


def known_arguments(tables: Iterable[ArgumentTable]) -> KnownArguments:
    """Names by engine and version. Raises KeyError for a base that no earlier row has."""
    known: dict[tuple[EngineName, str], frozenset[str]] = {}
    for table in tables:
        base = frozenset[str]() if table.base is None else known[table.engine, table.base]
        known[table.engine, table.version] = (base - set(table.removed)) | set(table.added)
    return known
