"""LoRA adapters with random weights, large enough to change greedy texts, as peft saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def base_model(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def lora_folder(folder: Path, base: Path, seed: int, rank: int = 8, **options: Any) -> Path:
    """An adapter for the model in `base`."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=TARGETS, **options)
    model = get_peft_model(base_model(base), config)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder)
    return folder


def written_by_peft(base: Path, adapter: Path | None, ids: list[int], count: int) -> list[int]:
    """The tokens that peft, or for no adapter transformers, writes greedily."""
    import torch
    from peft import PeftModel

    model = base_model(base)
    model.generation_config.eos_token_id = None  # it goes on behind its end
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    with torch.no_grad():
        made = model.generate(
            input_ids=torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=count,
            do_sample=False,
        )
    return [int(token) for token in made[0, len(ids) :]]
