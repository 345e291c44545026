"""Rows whose logits are NaN: which they are, and that nothing of them stays.

vLLM draws a token from such logits as from others. What it keeps of such a row is NaN as well; a
row that gets its blocks later reads beyond its own end there, and a product of nothing with NaN is
NaN.
"""

from __future__ import annotations

from typing import Any


class NotFinite:
    """Watches the steps of an engine of vLLM's; it counts NaN, as `VLLM_COMPUTE_NANS_IN_LOGITS`
    asks it to."""

    def __init__(self, vllm: Any):
        self._vllm = vllm
        self._step = vllm.engine_core.get_output
        self._found: set[str] = set()
        vllm.engine_core.get_output = self._watched

    def _watched(self) -> Any:
        outputs = self._step()
        states = self._vllm.output_processor.request_states
        self._found |= {
            states[each.request_id].external_req_id
            for each in outputs.outputs
            if each.num_nans_in_logits and each.request_id in states
        }
        return outputs

    def take(self) -> set[str]:
        """The rows, by the ids that they were added with, that were found since the last call."""
        found, self._found = self._found, set()
        return found

    def clear(self) -> None:
        """Forget what such rows left behind. Between two steps, when they have ended: all others
        are computed again from their tokens."""
        self._vllm.reset_prefix_cache(reset_running_requests=True)
        self._vllm.collective_rpc(_clear_caches)


def _clear_caches(worker: Any) -> None:
    """In the process of each GPU. Layers that keep several states have a list of them."""
    for cache in worker.model_runner.kv_caches:
        for each in cache if isinstance(cache, list | tuple) else [cache]:
            each.zero_()
