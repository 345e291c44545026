"""Whether prompts are asked or continued where nobody chose: it depends on the model."""

from __future__ import annotations

from collections.abc import Mapping

from web.pages.form import READS_DEFAULT
from web.pages.workers import known_models
from web.schemas.answers import ModelView


def default_reading(models: list[ModelView], chosen: str) -> str:
    """Whether prompts are asked or continued where nobody chose: they are asked where the model has
    a template of chats."""
    model = next((model for model in models if model.id == chosen), models[0] if models else None)
    return "chat" if model and model.card.chat_template else "text"


def with_default_reading(typed: Mapping[str, str]) -> dict[str, str]:
    """What was typed; where the choice is as the page had it, that of the model that was chosen
    since. What somebody chose stays, also when the model then turns out to have no chats."""
    default = typed.get(READS_DEFAULT)
    if not default:
        return dict(typed)
    if typed.get("reads") != default:
        return {**typed, READS_DEFAULT: ""}
    reads = default_reading(known_models(), typed.get("model", ""))
    return {**typed, "reads": reads, READS_DEFAULT: reads}
