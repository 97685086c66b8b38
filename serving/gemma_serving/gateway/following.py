"""Follows runtime.json: what may change without a restart is taken up where requests are served."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from pathlib import Path

from gemma_serving.contract import LIVE_FIELDS, ContractError, RuntimeConfig
from gemma_serving.gateway.gateway import Gateway

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""The kubelet brings a changed ConfigMap to its pods within about a minute, so this adds little."""


class Follower:
    """Takes up the live fields of a changed runtime.json; the rest of it is for the next pod."""

    def __init__(self, gateway: Gateway, path: Path) -> None:
        self._gateway = gateway
        self._path = path
        self._read: bytes | None = None
        self._told = ""

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> bool:
        """Take up what changed; whether anything was. What cannot be read changes nothing."""
        try:
            text = self._path.read_bytes()
            if text == self._read:
                return False
            self._take_up(RuntimeConfig.from_json(text))
        except (OSError, ContractError) as error:
            # Such as keys that only a new pod mounts: it is on its way, and this one serves as before.
            if str(error) != self._told:
                self._told = str(error)
                log.warning("a changed runtime.json is not taken up here: %s", error)
            return False
        self._read = text
        return True

    def _take_up(self, config: RuntimeConfig) -> None:
        gateway = self._gateway
        gateway.access.take_up(config.access)
        gateway.safety.take_up(config.safety)
        gateway.adapters.take_up(config.adapters)
        gateway.engine.admission.queue_limit = config.max_queued_requests
        later = [
            field.name
            for field in dataclasses.fields(RuntimeConfig)
            if field.name not in LIVE_FIELDS | {"adapters"}
            and getattr(config, field.name) != getattr(gateway.config, field.name)
        ]
        if later:
            log.info("runtime.json changed in %s, which new pods will follow", ", ".join(later))
