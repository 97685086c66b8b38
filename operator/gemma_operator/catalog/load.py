"""Reads and checks the data files, joins them, and merges an overlay given as file name → YAML text."""

from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from gemma_operator.api.v1alpha1 import EngineName, Precision
from gemma_operator.catalog.argument_rows import ArgumentTable, RefusedArguments, known_arguments
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.catalog.hardware_rows import (
    Accelerator,
    Efficiency,
    EngineVersion,
    Price,
    Support,
)
from gemma_operator.catalog.partitions import partitions_of
from gemma_operator.catalog.rows import (
    Architecture,
    Checkpoint,
    Confidence,
    Format,
    Row,
    Scheme,
    Variant,
    WeightType,
)

FILES = (
    "architectures.yaml",
    "variants.yaml",
    "checkpoints.yaml",
    "schemes.yaml",
    "accelerators.yaml",
    "engines.yaml",
    "engine_arguments.yaml",
    "support.yaml",
    "throughput.yaml",
    "prices.yaml",
)
NATIVE_FILES = ("*.safetensors", "*.json", "tokenizer.model")
"""What a Hugging Face checkpoint folder needs: weights, configuration, tokenizer."""

Data = dict[str, Any]
R = TypeVar("R", bound=Row)


class CatalogError(ValueError):
    """A data file does not hold what it should; the text names file, row and reason."""


class OverlayError(CatalogError):
    """The overlay is refused as a whole; the shipped data stays in force."""


def load_catalog() -> Catalog:
    """The shipped catalogue. Reads and checks about 2,500 lines of YAML: call it once and pass the value
    on."""
    return _build(_shipped())


def with_overlay(overlay: Mapping[str, str]) -> Catalog:
    """The shipped catalogue with a platform team's rows laid over it.

    Args:
        overlay: file name (one of FILES) → YAML text. Mappings replace or add rows by key; lists are put
        before
            the shipped ones, so that their rows are found first. A price or engine row replaces its twin.

    Raises:
        OverlayError: the whole overlay is refused; the text names file, row and reason.
    """
    merged = _shipped()
    for name in sorted(overlay):
        if name not in FILES:
            raise OverlayError(f"{name}: no such catalogue file; there are {', '.join(FILES)}")
        merged[name] = _merge(name, merged[name], _parse(name, overlay[name], OverlayError))
    try:
        return _build(merged)
    except CatalogError as error:
        raise OverlayError(str(error)) from error


def _shipped() -> dict[str, Data]:
    folder = resources.files("gemma_operator.catalog") / "data"
    return {name: _parse(name, (folder / name).read_text(encoding="utf-8"), CatalogError) for name in FILES}


def _parse(name: str, text: str, error_type: type[CatalogError]) -> Data:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        data = yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        raise error_type(f"{name}: not YAML: {error}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise error_type(f"{name}: expected a mapping of rows, got {type(data).__name__}")
    return data


def _merge(name: str, base: Data, overlay: Data) -> Data:
    merged = dict(base)
    for key, value in overlay.items():
        known = merged.get(key)
        if isinstance(known, list):
            if not isinstance(value, list):
                raise OverlayError(f"{name}: {key}: expected a list of rows")
            merged[key] = value + known
        elif isinstance(known, dict) and name == "schemes.yaml":
            if not isinstance(value, dict):
                raise OverlayError(f"{name}: {key}: expected a mapping of rows")
            merged[key] = {**known, **value}
        else:
            merged[key] = value
    return merged


def _build(data: Mapping[str, Data]) -> Catalog:
    architectures = _keyed("architectures.yaml", data["architectures.yaml"], Architecture)
    variants = _keyed("variants.yaml", data["variants.yaml"], Variant)
    types = _keyed("schemes.yaml", _section(data, "schemes.yaml", "types"), WeightType)
    schemes = _keyed("schemes.yaml", _section(data, "schemes.yaml", "schemes"), Scheme)
    published = _listed("checkpoints.yaml", data, "checkpoints", Checkpoint)
    _check_references(architectures, variants, types, schemes, published)
    accelerators: dict[str, Accelerator] = {}
    for key, row in _keyed("accelerators.yaml", data["accelerators.yaml"], Accelerator).items():
        accelerators[key] = row
        accelerators.update(partitions_of(key, row))
    prices = _listed("prices.yaml", data, "prices", Price)
    return Catalog(
        architectures=architectures,
        variants=variants,
        checkpoints={key: _checkpoints(key, row, published) for key, row in variants.items()},
        types=types,
        schemes=schemes,
        accelerators=accelerators,
        engines=_listed("engines.yaml", data, "engines", EngineVersion),
        support=_listed("support.yaml", data, "support", Support),
        efficiencies=_listed("throughput.yaml", data, "efficiencies", Efficiency),
        known_arguments=known_arguments(_listed("engine_arguments.yaml", data, "tables", ArgumentTable)),
        refused_arguments=_listed("engine_arguments.yaml", data, "refused", RefusedArguments),
        prices={price.accelerator: price for price in reversed(prices)},
    )


def _section(data: Mapping[str, Data], file: str, key: str) -> Data:
    section = data[file].get(key, {})
    if not isinstance(section, dict):
        raise CatalogError(f"{file}: {key}: expected a mapping of rows")
    return section


def _keyed(file: str, rows: Data, row_type: type[R]) -> dict[str, R]:
    return {str(key): _row(file, str(key), value, row_type) for key, value in rows.items()}


def _listed(file: str, data: Mapping[str, Data], key: str, row_type: type[R]) -> tuple[R, ...]:
    rows = data[file].get(key, [])
    if not isinstance(rows, list):
        raise CatalogError(f"{file}: {key}: expected a list of rows")
    return tuple(_row(file, f"{key}[{index}]", value, row_type) for index, value in enumerate(rows))


def _row(file: str, name: str, value: object, row_type: type[R]) -> R:
    try:
        return row_type.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise CatalogError(f"{file}: {name}: {place + ': ' if place else ''}{first['msg']}") from error


def _checkpoints(key: str, variant: Variant, published: Iterable[Checkpoint]) -> tuple[Checkpoint, ...]:
    if variant.architecture is None:
        return ()
    listed = tuple(row for row in published if row.variant == key)
    native = [
        _native(key, variant, Precision.BF16, (EngineName.VLLM, EngineName.TENSORRT_LLM)),
        _native(key, variant, Precision.FP16, (EngineName.VLLM,)),
    ]
    if not any(row.precision is Precision.FP8 for row in listed):
        native.append(_native(key, variant, Precision.FP8, (EngineName.VLLM,)))
    return (*native, *listed)


def _native(key: str, variant: Variant, precision: Precision, engines: tuple[EngineName, ...]) -> Checkpoint:
    at_load = precision is Precision.FP8
    return Checkpoint(
        variant=key,
        precision=precision,
        format=Format.SAFETENSORS,
        scheme="fp8" if at_load else "bf16",
        repository=variant.repository,
        revision=variant.revision,
        files=NATIVE_FILES,
        engines=engines,
        quantized_at_load=at_load,
        source=variant.source,
        confidence=Confidence.INFERRED if at_load else variant.confidence,
    )


def _check_references(
    architectures: Mapping[str, Architecture],
    variants: Mapping[str, Variant],
    types: Mapping[str, WeightType],
    schemes: Mapping[str, Scheme],
    checkpoints: Iterable[Checkpoint],
) -> None:
    for key, variant in variants.items():
        if variant.architecture is not None and variant.architecture not in architectures:
            raise CatalogError(f"variants.yaml: {key}: no architecture {variant.architecture!r}")
    for key, scheme in schemes.items():
        for group in (
            "attention",
            "feed_forward",
            "experts",
            "embedding",
            "per_layer_embedding",
            "towers",
            "rest",
        ):
            if getattr(scheme, group) not in types:
                raise CatalogError(f"schemes.yaml: {key}: {group}: no type {getattr(scheme, group)!r}")
    for index, row in enumerate(checkpoints):
        if row.variant not in variants:
            raise CatalogError(f"checkpoints.yaml: checkpoints[{index}]: no variant {row.variant!r}")
        if row.scheme not in schemes:
            raise CatalogError(f"checkpoints.yaml: checkpoints[{index}]: no scheme {row.scheme!r}")
