"""A forward pass over packed tokens: the protocol, and the pass of a Hugging Face model's modules.

A forward pass knows the model. Where keys and values are stored, and how they are read, is the
business of the step's attention.
"""

from __future__ import annotations

import inspect
from typing import Any, Protocol

import torch

from worker.engine.attention.backend import Step, StepAttention
from worker.engine.attention.hook import attending


class Forward(Protocol):
    """Computes the logits of a step."""

    name: str
    device: torch.device
    dtype: torch.dtype  # of keys and values

    def __call__(self, step: Step, attention: StepAttention) -> torch.Tensor:
        """Logits (kept, vocabulary), in float32 or the model's dtype, at the places `step.keep` of
        its tokens."""
        ...


class ModulesForward:
    """Runs the model's own modules, which call our attention through `attention/hook.py`."""

    name = "modules"

    def __init__(self, model: Any):
        self.device: torch.device = next(model.parameters()).device
        self.dtype: torch.dtype = next(
            parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()
        )
        self._model = model
        self._keeps_some = "logits_to_keep" in inspect.signature(model.forward).parameters

    def __call__(self, step: Step, attention: StepAttention) -> torch.Tensor:
        some = {"logits_to_keep": step.keep} if self._keeps_some else {}
        with attending(attention):
            out = self._model(
                input_ids=step.ids[None],
                position_ids=step.positions[None],
                use_cache=False,
                **some,
            )
        return out.logits[0] if self._keeps_some else out.logits[0, step.keep]
