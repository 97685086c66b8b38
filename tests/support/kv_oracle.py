"""Asks real vLLM what its KV cache holds: engine starts with dummy weights; runs in vLLM's environment.

Reads a JSON list of {"folder", "arguments"} from standard input; writes one JSON line of answers per start to
standard output. Hidden size and vocabulary are tiny in the folders' config.json; what counts is the true
shape of the KV cache.
"""

from __future__ import annotations

import gc
import json
import sys

from vllm import LLM


def start(folder: str, arguments: dict[str, object]) -> dict[str, object]:
    """Start the engine and read what it would log."""
    engine = LLM(model=folder, load_format="dummy", skip_tokenizer_init=True, enforce_eager=True, **arguments)
    cache = engine.llm_engine.vllm_config.cache_config
    answer = {
        "blocks": cache.num_gpu_blocks,
        "tokens": cache.kv_cache_size_tokens,
        "concurrency": cache.kv_cache_max_concurrency,
        "block_size": cache.block_size,
    }
    engine.llm_engine.engine_core.shutdown()
    del engine
    gc.collect()
    return answer


if __name__ == "__main__":
    for each in json.load(sys.stdin):
        print("ANSWER " + json.dumps(start(each["folder"], each["arguments"])), flush=True)
