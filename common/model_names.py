"""Names of models: a hub id, the path of a local folder, or the demo model."""

from __future__ import annotations

from pathlib import Path

DEMO_MODEL = "smollm2-135m"


def is_folder(model: str) -> bool:
    """Whether `model` is a local folder. Everything else is a hub id."""
    return model.startswith((".", "/", "~")) or Path(model).is_dir()


def own_name(model: str) -> str:
    """The name that jobs use for a model if the settings give it none: the hub id, or the name of
    the folder."""
    return Path(model).expanduser().resolve().name if is_folder(model) else model


def demo_folder(cache: Path) -> Path:
    """The folder of the demo model, which `promptmill model fetch-demo` makes."""
    return cache.expanduser() / "models" / DEMO_MODEL
