"""LoRA adapters in a running vLLM: loaded and dropped while requests go on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from vllm.lora.request import LoRARequest
from vllm.v1.engine.async_llm import AsyncLLM

from gemma_serving.contract import AdapterState, FailureCode, RuntimeConfig
from gemma_serving.engines.adapters import check_fits, planned_rank, slots
from gemma_serving.engines.protocol import EngineFailureError


class VllmAdapters:
    """Those that the engine has, under numbers that are never used twice.

    vLLM finds cached prompts by an adapter's name: a new number in it keeps one that was replaced from
    answering out of its predecessor's cache.
    """

    def __init__(self, engine: AsyncLLM, config: RuntimeConfig) -> None:
        self._engine = engine
        self._slots = slots(config)
        self._rank = planned_rank(config) if self._slots else 0
        self._requests: dict[str, LoRARequest] = {}
        self._last_number = 0
        self._turn = asyncio.Lock()

    def held(self) -> dict[str, str]:
        """Return name to path of the loaded ones."""
        return {name: request.lora_path for name, request in sorted(self._requests.items())}

    def request(self, name: str | None) -> LoRARequest | None:
        """Return what tells vLLM to use the adapter; None for the model as it is.

        Raises EngineFailureError for one that was dropped since the request came.
        """
        if name is None:
            return None
        if name not in self._requests:
            message = f"adapter {name!r} has just been taken out of this deployment"
            raise EngineFailureError(FailureCode.INVALID_REQUEST, message, "adapter")
        return self._requests[name]

    async def hold(self, adapters: Mapping[str, str]) -> dict[str, AdapterState]:
        """Drop what is not among them, load what is new, and return those that cannot be loaded."""
        async with self._turn:
            for name, path in self.held().items():
                if adapters.get(name) != path:
                    # Requests under way keep it: vLLM loads it once more for their next step.
                    await self._engine.remove_lora(self._requests.pop(name).lora_int_id)
            failed = {}
            for name, path in sorted(adapters.items()):
                if name not in self._requests:
                    failure = await self._load(name, path)
                    if failure is not None:
                        failed[name] = AdapterState(name, path, failure)
            return failed

    async def _load(self, name: str, path: str) -> str | None:
        """Return why it cannot be loaded; None when it is."""
        if len(self._requests) >= self._slots:
            return (
                f"adapter {name!r} has no place: memory is planned for {self._slots} adapter(s), and as many "
                "are loaded; raise model.adapterSlots.count"
            )
        self._last_number += 1
        request = LoRARequest(f"{name}#{self._last_number}", self._last_number, path)
        try:
            check_fits(name, path, self._rank)
            await self._engine.add_lora(request)
        except Exception as error:  # whatever vLLM finds wrong with the files
            return str(error) if isinstance(error, ValueError) else f"adapter {name!r}: {error}"
        self._requests[name] = request
        return None
