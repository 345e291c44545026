"""The parts of a model other than its weights: config, tokenizer, context, chat template."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.model_config import chat_template, context_length, eos_ids

if TYPE_CHECKING:
    from common.tokenizer import JsonTokenizer


@dataclass(frozen=True)
class ModelParts:
    """The parts of a model other than its weights."""

    config: Any
    tokenizer: JsonTokenizer
    context: int
    special_tokens: dict[str, str]
    template: str | None

    @classmethod
    def read(
        cls, folder: Path, name: str, wanted_context: int | None, *, any_quantisation: bool = False
    ) -> ModelParts:
        """Read and check them; with `any_quantisation` also those of checkpoints that transformers
        cannot load.

        Raises:
            ConfigError: one is missing or wrong.
        """
        from common.tokenizer import JsonTokenizer
        from worker.engine.model.weights import load_config, load_generation_config, load_tokenizer

        config = load_config(folder, any_quantisation=any_quantisation)
        fast = load_tokenizer(folder)
        context = context_length(config, fast.model_max_length, wanted_context)
        generation = load_generation_config(folder, config)
        text = config.get_text_config(decoder=True)
        ends = eos_ids(folder, text.vocab_size, generation, config, text, fast)
        special = {
            key: str(token)
            for key, token in fast.special_tokens_map.items()
            if isinstance(token, str)
        }
        return cls(
            config=config,
            tokenizer=JsonTokenizer(fast.backend_tokenizer.to_str().encode(), ends),
            context=context,
            special_tokens=special,
            template=chat_template(name, fast.chat_template, special),
        )
