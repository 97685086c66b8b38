"""Names on the wire: the one Triton model and its tensors."""

MODEL_NAME = "gemma"
"""Name of the one Triton model."""
STATS_REQUEST = '{"stats":true}'
"""Sent as the `request` tensor instead of a GenerateRequest: one JSON EngineStats comes back in `event`.

A dead engine answers with a Triton error instead. Why not a model of its own:
docs/design/20261125-engine-stats.md.
"""
CANCEL_KEY = "cancel"
"""`{"cancel": id}`, sent as the `request` tensor instead of a GenerateRequest, ends that sequence within one
decode step; the answer is empty. Why not by cancelling its stream: docs/design/20261125-cancelling.md.
"""
ADAPTERS_KEY = "adapters"
"""`{"adapters": {name: path}}`, sent as the `request` tensor instead of a GenerateRequest: the engine is to
hold exactly these LoRA adapters; one JSON EngineStats comes back in `event` when it has tried.
"""
REQUEST_TENSOR = "request"
"""BYTES[1]: JSON GenerateRequest, STATS_REQUEST, or an object with CANCEL_KEY or ADAPTERS_KEY alone."""
MEDIA_TENSOR = "media"
"""BYTES[-1], optional: decoded image or audio bytes, in prompt order."""
EVENT_TENSOR = "event"
"""BYTES[1]: JSON GenerateEvent, or JSON EngineStats where STATS_REQUEST or ADAPTERS_KEY asked."""
