"""Turns a GGUF file of Gemma 3 into a Hugging Face folder in bfloat16; runs in vLLM's environment.

python gguf_to_folder.py FILE.gguf FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig


def convert(file: Path, folder: Path) -> None:
    """Write tokenizer, configuration and weights."""
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    # transformers leaves the BOS out of a tokenizer read from GGUF; without it Gemma babbles.
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A",
        pair="<bos> $A $B",
        special_tokens=[("<bos>", tokenizer.convert_tokens_to_ids("<bos>"))],
    )
    tokenizer.save_pretrained(folder)
    # Weights stay packed otherwise, and packed ones cannot be saved.
    model = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    model.save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
