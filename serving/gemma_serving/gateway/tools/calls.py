"""A tool call as the parsers hand it on."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gemma_serving.gateway.parts import CallArguments, CallStart, Part


@dataclass(slots=True)
class CallWriter:
    """Numbers calls and words them; a call is handed on when it is complete, so its JSON is never half."""

    limit: int | None = None
    """Calls that are let through; None: all."""
    made: int = field(default=0, init=False)

    def write(self, name: str, arguments: Mapping[str, Any] | str) -> list[Part]:
        """Parts of one call; nothing beyond the limit."""
        if self.limit is not None and self.made >= self.limit:
            return []
        index = self.made
        self.made += 1
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        return [CallStart(index, f"call_{uuid.uuid4().hex[:24]}", name), CallArguments(index, text)]
