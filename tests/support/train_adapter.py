"""Teaches Gemma 3 270M one sentence by LoRA, and saves the adapter as PEFT does; runs in vLLM's environment.

python train_adapter.py MODEL FOLDER
"""

from __future__ import annotations

import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from support.fine_tuned import ANSWER, LAYERS_TRAINED, LORA_RANK, PROMPT

STEPS = 60
LEARNING_RATE = 2e-3
LEARNT = 0.05
"""Mean loss per token, natural logarithm: every token of the sentence is then by far the likeliest."""


def train(model_folder: str, adapter_folder: str) -> None:
    """Train until the sentence is learnt; RuntimeError if it is not in time."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    settings = LoraConfig(
        r=LORA_RANK, lora_alpha=2 * LORA_RANK, target_modules=list(LAYERS_TRAINED), task_type="CAUSAL_LM"
    )
    tuned = get_peft_model(model, settings)
    batch = tokenizer(PROMPT + ANSWER, return_tensors="pt")
    optimizer = torch.optim.AdamW(tuned.parameters(), lr=LEARNING_RATE)
    for _ in range(STEPS):
        loss = tuned(**batch, labels=batch["input_ids"]).loss
        if loss.item() < LEARNT:
            tuned.save_pretrained(adapter_folder)
            return
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    raise RuntimeError(f"after {STEPS} steps the loss is {loss.item():.3f}, not below {LEARNT}")


if __name__ == "__main__":
    train(sys.argv[1], sys.argv[2])
