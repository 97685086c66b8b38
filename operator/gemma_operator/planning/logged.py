"""Reading a row of a log table: which variant, checkpoint, accelerator and engine it means.

The columns are those of memory points (id, model, precision, kv_dtype, gpu, gpu_mem_gib_visible, tp,
engine_version, max_model_len, gpu_mem_util, metric, value, unit, notes) and of throughput points.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gemma_operator.api.quantity import GIB
from gemma_operator.api.v1alpha1 import EngineName
from gemma_operator.catalog.catalog import Catalog
from gemma_operator.catalog.hardware_rows import Accelerator
from gemma_operator.catalog.recipes import recipe_for
from gemma_operator.planning.units import version_tuple

LogRow = Mapping[str, str]

ASSUMED_VERSION = (0, 27)
"""vLLM version of rows that name none: the newest image in the catalogue."""
OLD_TOKEN_VERSION = (0, 19)
"""Rows that say `old token formula` mean a version before 0.21."""
ASSUMED_UTILIZATION = 0.92
"""vLLM's default gpu_memory_utilization (engine facts, section 5.2)."""
ASSUMED_FREE_FRACTION = 0.90
"""TensorRT-LLM's default share of the memory that weights leave."""
ASSUMED_SEQUENCES = 256
"""vLLM's default max_num_seqs below 70 GiB, for rows that neither state it nor cite a place that does."""
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
"""A dated image is taken for the vLLM of Triton's image of that month."""
DEVICE_CLASSES = ((160 * GIB, 16384, (0, 29)), (70 * GIB, 8192, (0, 0)))
"""(memory at least, max_num_batched_tokens, since version) of vLLM's defaults (engine/arg_utils.py 0.24.0,
0.29.0)."""
DEFAULT_BATCHED_TOKENS = 2048
MEDIA_ITEM_TOKENS = 2496
"""Largest media item of Gemma 4 with bidirectional image attention: vLLM raises its default to this."""
CHUNKED_MEDIA_SINCE = (0, 9)
"""The engine before V1 did not cut prompts of multimodal models: a step held the longest prompt (vLLM 0.8.3
config.py SchedulerConfig). V1 serves them from 0.9 on; field case FO-01 logs the old engine on Gemma 3."""
WHOLE_MEDIA_TOKENS = 5120
"""The least such a step held."""
PREFIX_LM = ("gemma-4-12b", "gemma-4-26b-a4b", "gemma-4-31b")

SCHEMES = (
    (r"weights \+ int4 embeddings", "repack_int4_all"),
    (r"weights \+ bf16 embeddings", "repack_int4"),
    (r"w4a16", "w4a16_ct"),
    (r"nvfp4", "nvfp4"),
    (r"awq", "awq_g32"),
    (r"int4|4-bit", "w4a16_g128"),
    (r"int8", "w8a8"),
    (r"q8_0", "gguf_q8_0"),
    (r"q4_k_m", "gguf_q4_k_m"),
    (r"q4_0 gguf", "gguf_q4_0"),
    (r"fp8", "fp8"),
    (r"bf16|fp16", "bf16"),
)
"""First match wins."""


@dataclass(frozen=True, slots=True)
class LoggedStart:
    """One engine start that a row belongs to, as far as the row tells."""

    architecture_key: str
    variant_key: str
    scheme: str | None
    """None: the row names no type that the catalogue has."""
    checkpoint_known: bool
    """The precision means one published checkpoint; else its recipe is a guess."""
    version: tuple[int, ...]
    version_given: bool
    engine: str
    """vllm, tensorrt, llama.cpp, vendor or other."""
    accelerator: str | None
    device_gib: float | None
    tensor_parallel_size: int
    context: int | None
    utilization: float | None
    batched_tokens: int
    max_sequences: int
    kv_element_bytes: int
    text_only: bool
    images: bool
    drafter: bool
    eager: bool


def start_of(row: LogRow, catalog: Catalog, stated_tokens: int | None = None) -> LoggedStart | None:
    """What the row describes; None when its model is not in the catalogue.

    Args:
        row: one line of the table.
        catalog: the facts.
        stated_tokens: max_num_batched_tokens that another row of the same start states.
    """
    model = row["model"].split("/")[-1].strip().lower()
    key = _variant_key(model, catalog)
    variant = catalog.variant(key) if key else None
    if key is None or variant is None or variant.architecture is None:
        return None
    notes, engine_text = row.get("notes", "").lower(), row.get("engine_version", "").lower()
    gpu = row.get("gpu", "")
    accelerator = accelerator_of(gpu, catalog)
    visible = number(row.get("gpu_mem_gib_visible", ""))
    device = visible or (accelerator[1].memory_gib if accelerator else None)
    version, given = _version(engine_text, catalog)
    scheme, known = _scheme(row.get("precision", "").lower(), variant.architecture, catalog)
    a100 = "a100" in gpu.lower()
    text_only = "text-only" in notes
    ranks = int(number(row.get("tp", "")) or 1)
    recipe = recipe_for(row.get("source", ""), variant.architecture, ranks)
    images = "image input disabled" not in notes and not text_only and (recipe is None or recipe.images)
    tokens = stated_tokens or (recipe.max_num_batched_tokens if recipe else None)
    context = int(number(row.get("max_model_len", "")) or 0) or None
    if tokens is None and images and catalog.architectures[variant.architecture].vision_tower is not None:
        tokens = _whole_prompt(version, context or variant.context_length)
    return LoggedStart(
        architecture_key=variant.architecture,
        variant_key=key,
        scheme=scheme,
        checkpoint_known=known,
        version=version,
        version_given=given,
        engine=_engine(engine_text, gpu.lower()),
        accelerator=accelerator[0] if accelerator else None,
        device_gib=device,
        tensor_parallel_size=ranks,
        context=context,
        utilization=number(row.get("gpu_mem_util", ""))
        or (recipe.gpu_memory_utilization if recipe else None),
        batched_tokens=tokens
        or _batched(device, a100, version, variant.architecture in PREFIX_LM and images),
        max_sequences=stated_sequences(row) or (recipe.max_num_seqs if recipe else ASSUMED_SEQUENCES),
        kv_element_bytes=_kv_bytes(row.get("kv_dtype", "").lower(), scheme, catalog),
        text_only=text_only,
        images=images,
        drafter="mtp" in engine_text or (recipe is not None and recipe.drafter),
        eager="eager" in row.get("metric", ""),
    )


def _variant_key(model: str, catalog: Catalog) -> str | None:
    """The served variant of a name, its form added or a suffix such as `-qat` taken off."""
    names = (model, f"{model}-it", f"{model}-pt")
    longer = sorted((key for key in catalog.variants if model.startswith(f"{key}-")), key=len, reverse=True)
    for key in (*names, *longer):
        row = catalog.variant(key)
        if row is not None and row.refusal is None:
            return key
    return None


def _kv_bytes(stated: str, scheme: str | None, catalog: Catalog) -> int:
    """Bytes per element of the cache: as the row says, else as the checkpoint asks for."""
    if "fp8" in stated or "int8" in stated:
        return 1
    return 2 if stated or scheme is None else catalog.schemes[scheme].kv_cache_bytes


def accelerator_of(text: str, catalog: Catalog) -> tuple[str, Accelerator] | None:
    """The catalogue's accelerator that a free text such as `4x RTX 3090 24GB` names; the longest match
    wins."""
    words = re.sub(r"[^a-z0-9]+", " ", text.lower())
    best: tuple[int, str] | None = None
    for key in catalog.accelerators:
        parts = key.removeprefix("nvidia-").split("-")
        names = [part for part in parts if not part.endswith("gb")]
        sized = [part for part in parts if part.endswith("gb")]
        if not all(re.search(rf"\b{name}\b", words) for name in names):
            continue
        score = len(names) + sum(
            1 for size in sized if size.removesuffix("gb") in words.replace("gb", "").split()
        )
        if best is None or score > best[0]:
            best = (score, key)
    return (best[1], catalog.accelerators[best[1]]) if best else None


def scheme_of(precision: str, architecture: str, catalog: Catalog, engine: EngineName) -> str | None:
    """Scheme that a precision text means for a body; 16-bit where it is not stated."""
    if engine is EngineName.LLAMA_CPP and "gguf" not in precision:
        return None
    return _scheme(precision, architecture, catalog)[0] or ("bf16" if "not stated" in precision else None)


def _engine(text: str, gpu: str) -> str:
    if "tpu" in gpu or "tpu" in text:
        return "vllm-full"
    for needle, name in (
        ("metal", "other"),
        ("vllm", "vllm"),
        ("tensorrt", "tensorrt"),
        ("llama", "llama.cpp"),
    ):
        if needle in text:
            return name
    return "vendor"


def _version(text: str, catalog: Catalog) -> tuple[tuple[int, ...], bool]:
    if "old token formula" in text:
        return OLD_TOKEN_VERSION, False
    match = re.search(r"(\d+\.\d+[\d.a-z]*)", text)
    if match:
        return version_tuple(match[1]), True
    tag = _month(text)
    if tag is not None:
        dated = [
            row.version
            for row in catalog.engines
            if row.engine is EngineName.VLLM and row.tag.startswith(tag)
        ]
        if dated:
            return version_tuple(dated[0]), False
    return ASSUMED_VERSION, False


def _month(text: str) -> str | None:
    """Year and month of a date in a text, as Triton's tags write it: `26.06`."""
    named = re.search(r"\b([a-z]{3})[a-z]* 20(\d\d)\b", text)
    if named and named[1] in MONTHS:
        return f"{named[2]}.{MONTHS.index(named[1]) + 1:02}"
    written = re.search(r"\b20(\d\d)-(\d\d)\b", text)
    return f"{written[1]}.{written[2]}" if written else None


def _scheme(precision: str, architecture: str, catalog: Catalog) -> tuple[str | None, bool]:
    scheme = next((name for pattern, name in SCHEMES if re.search(pattern, precision)), None)
    known = scheme in ("bf16", "w4a16_ct", "nvfp4") or (scheme or "").startswith("gguf")
    if scheme == "w4a16_ct" and architecture == "gemma-4-12b":
        scheme = "w4a16_ct_unified"
    if scheme == "gguf_q4_0" and architecture.startswith("gemma-3"):
        scheme = "gguf_q4_0_f16"
    if scheme == "awq_g32":
        known = architecture == "gemma-4-26b-a4b"
        other = "awq_g32_linear" if architecture.startswith("gemma-3-") else "w4a16_g128"
        scheme = scheme if known else other
    if scheme == "w4a16_ct" and (not architecture.startswith("gemma-4") or architecture == "gemma-4-26b-a4b"):
        scheme, known = "w4a16_g128", False
    if scheme == "nvfp4":
        rows = {"gemma-4-31b": "nvfp4_mlp", "gemma-4-26b-a4b": "nvfp4_experts"}
        scheme = "nvfp4_linear" if "redhat" in precision else rows.get(architecture, "nvfp4_linear")
    return (scheme if scheme in catalog.schemes else None), known


def stated_batched_tokens(row: LogRow) -> int | None:
    """max_num_batched_tokens where the row gives it."""
    return _stated(row, "max_num_batched_tokens", r"(?:max_num_batched_tokens|mnbt|x=)\s*(\d+)")


def stated_sequences(row: LogRow) -> int | None:
    """max_num_seqs where the row gives it."""
    return _stated(row, "max_num_seqs", r"max_num_seqs\s*=?\s*(\d+)")


def _stated(row: LogRow, column: str, note: str) -> int | None:
    """A setting from the row's own column, which tables may have or not, or from its notes."""
    cell = number(row.get(column, ""))
    if cell is not None and cell >= 1:
        return int(cell)
    found = re.search(note, row.get("notes", "").lower())
    return int(found[1]) or None if found else None


def _whole_prompt(version: tuple[int, ...], context: int) -> int | None:
    """Tokens of a step that cannot cut prompts; None where it can."""
    return max(context, WHOLE_MEDIA_TOKENS) if version < CHUNKED_MEDIA_SINCE else None


def _batched(device_gib: float | None, a100: bool, version: tuple[int, ...], media: bool) -> int:
    size = (device_gib or 0) * GIB
    default = DEFAULT_BATCHED_TOKENS
    for least, tokens, since in DEVICE_CLASSES:
        if size >= least and version >= since and not (a100 and least < 160 * GIB):
            default = tokens
            break
    return max(default, MEDIA_ITEM_TOKENS) if media else default


def number(text: str) -> float | None:
    """The number in a cell; None where it holds none."""
    try:
        return float(text)
    except ValueError:
        return None
