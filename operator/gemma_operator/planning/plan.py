"""What planning answers with: a Plan, or a Refusal. Both are data; nothing here decides."""

from dataclasses import dataclass, field
from typing import Any

from gemma_operator.api.manifest import content_hash
from gemma_operator.api.reasons import Reason
from gemma_operator.api.v1alpha1 import EngineName, Precision
from gemma_operator.planning.memory import Term
from gemma_operator.planning.origin import FetchedOrigin, Origin
from gemma_operator.planning.throughput import Load, Speed

CPU = "cpu"
"""The accelerator key of a plan that needs none."""


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """Memory of one accelerator (of the engine container, on CPU), in bytes. Only in a refusal does the sum
    exceed usable."""

    usable_bytes: int
    weights_bytes: int
    kv_cache_bytes: int
    overhead_bytes: int

    @property
    def headroom_bytes(self) -> int:
        """What is left over; negative in a refusal."""
        return self.usable_bytes - self.weights_bytes - self.kv_cache_bytes - self.overhead_bytes


@dataclass(frozen=True, slots=True)
class HostResources:
    """What the engine container asks of its node."""

    cpu_millicores: int
    memory_bytes: int
    ephemeral_storage_bytes: int
    """Zero-cache pods hold the weights here; always includes the model repository and logs."""
    shared_memory_bytes: int
    """Size of /dev/shm."""


@dataclass(frozen=True, slots=True)
class WeightsPlan:
    """Which files, and from where."""

    origin: Origin
    files: tuple[str, ...]
    """Glob patterns of the files to fetch, such as `*.safetensors` or one GGUF file name."""
    entry: str
    """Path inside the weights folder that the engine opens: `.` for a checkpoint folder, or a GGUF file."""
    size_bytes: int
    """Bytes of all files."""

    @property
    def key(self) -> str:
        """Identity of the files: equal keys mean equal weights."""
        name, version, volume, path = self.origin.identity
        return content_hash([name, version, sorted(self.files), volume, path])

    @property
    def is_fetched(self) -> bool:
        """Whether anything has to be fetched; else it is mounted as it is."""
        return isinstance(self.origin, FetchedOrigin)


@dataclass(frozen=True, slots=True)
class AdapterPlan:
    """One LoRA adapter and its files."""

    name: str
    weights: WeightsPlan
    rank: int
    """Largest rank that memory is planned for."""


@dataclass(frozen=True, slots=True)
class AdapterRoom:
    """What memory is planned for."""

    count: int
    """Adapters held at once."""
    rank: int
    """Largest among them."""


@dataclass(frozen=True, slots=True)
class DrafterPlan:
    """A drafter and its files."""

    weights: WeightsPlan
    tokens: int
    """Guessed per step."""


@dataclass(frozen=True, slots=True)
class StartupPhase:
    """One part of the time from container start to the first token."""

    phase: str
    seconds: float
    formula: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """What to expect of one replica, beyond what rendering needs."""

    support: str
    """What the matrix says: verified or expected."""
    speed: Speed
    """Of a replica that is busy with its planned concurrency."""
    load: Load
    """The load that the speed assumes."""
    largest_context: int
    """Tokens that one request alone could have, up to the variant's maximum."""
    kv_tokens: int
    """Tokens in the cache, as the engine's log reports them."""
    startup: tuple[StartupPhase, ...]
    terms: tuple[Term, ...]
    """The memory sum with its bands, per accelerator (the container, on CPU)."""
    machine_types: tuple[str, ...] = ()
    """Machines that offer that many accelerators, the smallest first."""
    hourly_cost: float | None = None
    cost_per_million_tokens: float | None = None
    price_note: str = ""
    """Currency, date and origin of the price."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to serve the spec. Everything that `resources` needs, so that rendering decides nothing."""

    variant: str
    family: str
    """Chat family, as in the serving contract."""
    instruction_tuned: bool
    modalities: tuple[str, ...]
    engine: EngineName
    engine_version: str
    image: str
    """Image of the `triton` container."""
    accelerator: str
    """`cpu` or a catalogue key."""
    count: int
    """Accelerators per replica; 0 on CPU."""
    resource_name: str | None
    """Extended resource such as `nvidia.com/gpu`; None on CPU."""
    node_selector: dict[str, str]
    tolerations: tuple[dict[str, str], ...]
    tensor_parallel_size: int
    precision: Precision
    context_length: int
    max_concurrent_requests: int
    max_queued_requests: int
    request_timeout_seconds: int
    memory: MemoryBudget
    host: HostResources
    threads: int | None
    """CPU threads of a CPU engine."""
    weights: WeightsPlan
    predicted_load_seconds: float
    """From container start to the first token, weights already on the node."""
    sampling: dict[str, float]
    """temperature, top_k, top_p of the variant's generation config."""
    engine_arguments: dict[str, Any]
    """Arguments for the exact engine version."""
    explanations: tuple[str, ...] = field(default=())
    """Sentences on what was chosen and why."""
    outlook: Outlook | None = None
    adapters: tuple[AdapterPlan, ...] = ()
    """LoRA adapters, by name."""
    adapter_room: AdapterRoom | None = None
    """For adapters that come and go while the engine runs; None: it loads them at start only."""
    drafter: DrafterPlan | None = None
    """What guesses tokens ahead."""

    @property
    def fetched(self) -> tuple[WeightsPlan, ...]:
        """Everything that has to be fetched: the model's files, then those of its adapters and drafter."""
        drafter = () if self.drafter is None else (self.drafter.weights,)
        everything = (self.weights, *(adapter.weights for adapter in self.adapters), *drafter)
        return tuple(weights for weights in everything if weights.is_fetched)

    @property
    def fetched_key(self) -> str:
        """Identity of everything that is fetched."""
        keys = [weights.key for weights in self.fetched]
        return keys[0] if len(keys) == 1 else content_hash(keys)


@dataclass(frozen=True, slots=True)
class Remedy:
    """A change that this planner itself verified to fit."""

    sentence: str
    """Such as `use precision INT4`."""
    spec_fragment: dict[str, Any]
    """Ready to merge into the spec."""
    hourly_cost: float | None = None
    """Of the whole replica, in the price file's currency."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the spec cannot be served as written, and the cheapest changes that would do."""

    reason: Reason
    message: str
    """What is needed, what there is, what to change."""
    remedies: tuple[Remedy, ...] = field(default=())
    memory: MemoryBudget | None = None
    """The sum that does not fit, where memory is what lacks."""
