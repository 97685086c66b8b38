"""Everything one gateway process holds, put together once and handed down."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gemma_serving.contract import GenerateRequest, RuntimeConfig
from gemma_serving.gateway import errors
from gemma_serving.gateway.access.door import Access
from gemma_serving.gateway.access.limits import DEFAULT_ANSWER_TOKENS, prompt_tokens
from gemma_serving.gateway.adapters import Adapters, Loading
from gemma_serving.gateway.admission import Admission
from gemma_serving.gateway.drain import Drain
from gemma_serving.gateway.health import EngineHealth
from gemma_serving.gateway.media.loading import MediaLoader
from gemma_serving.gateway.metrics import Metrics
from gemma_serving.gateway.prompts import PromptFormat, format_of
from gemma_serving.gateway.quality import Quality
from gemma_serving.gateway.record import Record
from gemma_serving.gateway.safety.filters import Safety
from gemma_serving.gateway.schema.base import SamplingBody
from gemma_serving.gateway.sequences import Engine
from gemma_serving.gateway.tracing import Tracing
from gemma_serving.gateway.upstream import Upstream
from gemma_serving.gateway.views import Envelope


@dataclass(frozen=True, slots=True)
class Gateway:
    """One replica's door."""

    config: RuntimeConfig
    engine: Engine
    access: Access
    safety: Safety
    media: MediaLoader
    adapters: Adapters
    prompt_format: PromptFormat
    quality: Quality | None
    record: Record = field(default_factory=Record)
    started_at: int = field(default_factory=lambda: int(time.time()))
    """Unix seconds."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same seed may give another answer."""
        config = self.config
        parts = (config.variant, config.engine, config.engine_version, config.precision, config.weights_path)
        return "fp_" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

    def served_models(self) -> list[str]:
        """Names that requests may use: the deployment's, and `NAME:ADAPTER` for each loaded adapter."""
        name = self.config.model
        return [name, *(f"{name}:{adapter}" for adapter in self.adapters.loaded())]

    def adapter_of(self, model: str) -> str | None:
        """The adapter that a model name means.

        Raises ApiError 404 for a name that is not served, 503 for an adapter that is not loaded here.
        """
        name = self.config.model
        if model == name:
            return None
        reports = {f"{name}:{report.name}": report for report in self.adapters.reports()}
        if model not in reports:
            raise errors.model_not_found(model, self.served_models())
        report = reports[model]
        if report.state is not Loading.LOADED:
            raise errors.adapter_not_loaded(model, report.message)
        return report.name

    def envelope(self, prefix: str, body: SamplingBody) -> Envelope:
        """What every chunk of one answer repeats."""
        identity = f"{prefix}-{uuid.uuid4().hex}"
        return Envelope(identity, body.model, self.fingerprint, body.wants_usage, body.n or 1)

    def estimate_tokens(
        self, prompts: Sequence[str | list[int]], max_tokens: int | None, sequences: int
    ) -> int:
        """Tokens to reserve for a request before anything is tokenized."""
        inputs = sum(len(p) if isinstance(p, list) else prompt_tokens(p) for p in prompts)
        answer = DEFAULT_ANSWER_TOKENS if max_tokens is None else max_tokens
        return inputs + min(answer, self.config.context_length) * sequences

    def generate_request(self, body: SamplingBody, identity: str, max_tokens: int | None) -> GenerateRequest:
        """Sampling of a body, completed with the variant's own defaults; the prompt is the caller's to
        add.
        """
        defaults = self.config.sampling
        return GenerateRequest(
            id=identity,
            # The engine lowers it to what the prompt leaves.
            max_tokens=self.config.context_length if max_tokens is None else max_tokens,
            temperature=defaults.temperature if body.temperature is None else body.temperature,
            top_p=defaults.top_p if body.top_p is None else body.top_p,
            top_k=defaults.top_k if body.top_k is None else max(0, body.top_k),
            min_p=body.min_p or 0.0,
            repetition_penalty=1.0 if body.repetition_penalty is None else body.repetition_penalty,
            presence_penalty=body.presence_penalty or 0.0,
            frequency_penalty=body.frequency_penalty or 0.0,
            logit_bias=body.logit_bias,
            stop=body.stops,
            seed=body.seed,
            ignore_eos=bool(body.ignore_eos),
            adapter=self.adapter_of(body.model),
            priority=body.priority or 0,
        )


def make_gateway(config: RuntimeConfig, upstream: Upstream) -> Gateway:
    """Put the parts of one process together."""
    metrics = Metrics(config)
    drain = Drain()
    admission = Admission(config.max_concurrent_requests, config.max_queued_requests)
    metrics.waiting.set_function(lambda: admission.waiting)
    metrics.running.set_function(lambda: admission.running)
    metrics.aliases.waiting = lambda: admission.waiting
    metrics.aliases.running = lambda: admission.running
    metrics.draining.set_function(lambda: float(drain.leaving))
    health = EngineHealth()
    tracing, timeout_seconds = Tracing(config), float(config.request_timeout_seconds)
    engine = Engine(upstream, admission, health, metrics, drain, tracing, timeout_seconds)
    access, safety = Access(config.access, metrics), Safety(config.safety, metrics)
    prompt_format = format_of(config.family, Path(config.weights_path))
    media = MediaLoader(config.media, config.modalities, config.variant)
    quality = None if config.quality is None else Quality(config.quality.sample_percent, metrics, safety)
    adapters = Adapters(config.adapters, health)
    return Gateway(config, engine, access, safety, media, adapters, prompt_format, quality)
