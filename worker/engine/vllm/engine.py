"""The engine that has vLLM compute: its scheduler, kernels, prefix cache and GPUs, our requests.

A step on the engine's thread: take new requests and cancellations, let vLLM make a step, advance
the sequences by the tokens that it drew, and abort at vLLM what ended here. Text, stop strings,
thoughts and reasons to end are those of `scheduling/open_requests.py`, as on our own engine. Each
continuation is a request of its own at vLLM.

`library.vllm_version` comes first: it prepares the import of vLLM, and says how to install it.

An exception out of vLLM's step leaves its scheduler undefined, and a step with a process that died
never ends: the step age is infinite then, and the worker ends.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm import SamplingParams as VllmParams
from vllm import TokensPrompt

from common.errors import ConfigError, EngineError
from common.generation import Request
from common.params import CELLS, SamplingParams
from worker.engine.protocol import EngineThread
from worker.engine.scheduling.drawn import Drawn
from worker.engine.scheduling.open_requests import OpenRequests
from worker.engine.scheduling.sequence import Sequence
from worker.engine.scheduling.text import Detokenizer
from worker.engine.vllm.guided import Guided
from worker.engine.vllm.library import device_name, open_vllm, vllm_device, vllm_version
from worker.engine.vllm.lora import load_loras
from worker.engine.vllm.not_finite import NotFinite
from worker.engine.vllm.options import VllmOptions
from worker.engine.vllm.processes import Processes
from worker.engine.vllm.sampling import prompt_scores, score, vllm_params

if TYPE_CHECKING:
    from common.structured.guidance import Guide

log = logging.getLogger(__name__)

# For log-probabilities of a prompt vLLM computes the logits of all its tokens in a step at once: at
# most 1 GiB of them in float32, and some copies. Running out of memory would end the worker.
PROMPT_LOGITS = 2**28


class VllmEngine(EngineThread):
    """Runs the model in `folder`. `vocabulary` is the width of its logits; `dtype` is by vLLM's
    names. `guide` makes matchers of grammars; without one, requests with a grammar are refused.

    Raises:
        ConfigError: vLLM is not there, or cannot run the model like this.
    """

    honours = frozenset(CELLS) - {"typical_p", "no_repeat_ngram_size"}

    def __init__(
        self,
        folder: Path,
        detokenizer: Detokenizer,
        options: VllmOptions,
        *,
        slots: int,
        context: int,
        vocabulary: int,
        dtype: str = "auto",
        guide: Guide | None = None,
    ):
        super().__init__("vllm-engine", slots=slots)
        self.context = context
        self.device_name = device_name()
        self.kernels = f"vllm {vllm_version()} {vllm_device()}"
        self._processes = Processes()
        self._vllm = open_vllm(
            folder, options, self._processes, slots=slots, context=context, dtype=dtype
        )
        self._loras = load_loras(self._vllm, options.loras)  # by the adapters' names
        config = self._vllm.model_config
        self.dtype = str(config.dtype).removeprefix("torch.")
        self.quantization: str | None = config.quantization
        self._tokens_a_step = self._vllm.vllm_config.scheduler_config.max_num_batched_tokens
        self._vocabulary = vocabulary
        self._detokenizer = detokenizer
        self._running: dict[str, Sequence] = {}  # what vLLM has, by its request ids
        self._lost = False  # vLLM computes no more

        self._not_finite = NotFinite(self._vllm)
        self._guided = Guided()
        self._guided.serve(self._vllm)
        self._requests = OpenRequests(
            self._mail,
            detokenizer,
            vocabulary=vocabulary,
            context=context,
            on_end=self._drop,
            guide=guide,
        )

    def step_age(self) -> float:
        return math.inf if self._lost or self._processes.lost() else super().step_age()

    def stop(self) -> None:
        super().stop()
        self._processes.end(self._vllm.engine_core.shutdown)

    def goes_on(self, params: SamplingParams, /) -> bool:
        """vLLM draws anew from a checkpoint, and counts only what it generated itself."""
        return (
            params.is_greedy
            and not params.presence_penalty
            and not params.frequency_penalty
            and not params.bad_words
        )

    def _warm_up(self) -> None:
        """Compute a few tokens, one greedily and one drawn.

        Raises:
            ConfigError: the model's logits are not finite.
        """
        prompt = TokensPrompt(prompt_token_ids=[each % self._vocabulary for each in range(1, 6)])
        greedy = VllmParams(temperature=0, max_tokens=1, logprobs=0, detokenize=False)
        drawn = VllmParams(seed=0, top_p=0.9, top_k=5, max_tokens=1, detokenize=False)
        self._vllm.add_request("greedy", prompt, greedy)
        self._vllm.add_request("drawn", prompt, drawn)
        outputs: list[Any] = []
        while self._vllm.has_unfinished_requests():
            outputs += self._vllm.step()
        found = [each for output in outputs for each in output.outputs[0].logprobs or []]
        if not all(math.isfinite(score.logprob) for each in found for score in each.values()):
            raise ConfigError(
                f"the model gives NaN or infinity in {self.dtype}; download it again, or set "
                "PROMPTMILL_DTYPE"
            )

    def _run(self) -> None:
        try:
            while self._take_mail(0 if self._running else None):
                if self._running:
                    self._step()
        except Exception:
            log.critical("vLLM computes no more: this process must end", exc_info=True)
            # The worker sees the infinite step age and ends the process.
            self._lost = True

    def _accept(self, request: Request) -> None:
        if error := self._refusal(request):
            self._requests.refuse(request, error)
            return
        sequences = self._requests.open(request)
        for sequence, generated in zip(sequences, request.resume or [], strict=False):
            self._requests.resume(sequence, generated)
        for sequence in sequences:
            if not sequence.finish_reason:
                self._add(sequence)

    def _refusal(self, request: Request) -> tuple[str, str] | None:
        """Why a request can never run here, as `(code, message)`."""
        if request.continuations is not None:
            return "unsupported", "engine vllm does not score texts; use engine native"
        most = PROMPT_LOGITS // self._vocabulary
        at_once = min(len(request.prompt_ids), self._tokens_a_step)
        if request.params.prompt_logprobs is not None and at_once > most:
            message = f"prompt_logprobs on engine vllm is for prompts of at most {most} tokens"
            return "unsupported", message
        return self._requests.refusal(request)

    def _add(self, sequence: Sequence) -> None:
        """Give a sequence to vLLM, from where it is."""
        request, key = sequence.request, _key(sequence)
        self._running[key] = sequence
        if sequence.constraint:
            self._guided.add(key, sequence.constraint)
        params = vllm_params(sequence, self._detokenizer, key if sequence.constraint else None)
        prompt = TokensPrompt(prompt_token_ids=list(sequence.tokens))
        self._vllm.add_request(
            key,
            prompt,
            params,
            lora_request=self._loras[request.adapter] if request.adapter else None,
            priority=0 if request.interactive else 1,
        )

    def _drop(self, sequence: Sequence) -> None:
        """A sequence ended: vLLM need not go on with it."""
        key = _key(sequence)
        self._guided.forget(key)
        if self._running.pop(key, None):
            self._vllm.abort_request([key])

    def _step(self) -> None:
        self._begin_step()
        outputs = self._vllm.step()
        self._end_not_finite()
        for output in outputs:
            if sequence := self._running.get(output.request_id):
                self._advance(sequence, output)
        self._end_step()

    def _end_not_finite(self) -> None:
        """Fail the rows whose logits are NaN, before a token of theirs is taken."""
        found = self._not_finite.take()
        for key in found:
            if sequence := self._running.get(key):
                self._requests.take(sequence, Drawn(None, fault="not_finite"))
        if found:
            self._not_finite.clear()

    def _advance(self, sequence: Sequence, output: Any) -> None:
        """Take what vLLM computed for a sequence in a step."""
        if output.finished:
            del self._running[output.request_id]  # there is nothing to abort
        self._requests.guarded(sequence.request, lambda _: self._take(sequence, output))
        if output.finished and not sequence.finish_reason:
            why = EngineError(f"vLLM ended this early ({output.outputs[0].finish_reason})")
            self._requests.fail(sequence.request.id, why)

    def _take(self, sequence: Sequence, output: Any) -> None:
        request = sequence.request
        if (count := request.params.prompt_logprobs) is not None and output.prompt_logprobs:
            for place, scores in prompt_scores(request.prompt_ids, output.prompt_logprobs, count):
                self._requests.take_scores(sequence, place, scores)
        (made,) = output.outputs
        for place, token in enumerate(made.token_ids):
            if not sequence.finish_reason:
                found = made.logprobs[place] if made.logprobs else None
                self._requests.take(sequence, self._drawn(sequence, token, found))

    def _drawn(self, sequence: Sequence, token: int, found: Any) -> Drawn:
        """A token that vLLM drew, with its log-probabilities; or why it cannot be taken."""
        if bound := sequence.constraint:
            fault = self._guided.fault(_key(sequence), bound, token)
            if fault:
                return Drawn(None, fault=fault)
        alternatives = sequence.request.params.logprobs
        if alternatives is None or found is None:
            return Drawn(token)
        if math.isnan(found[token].logprob):  # beside an infinite logit, which is not counted
            return Drawn(None, fault="not_finite")
        return Drawn(token, score(token, found, alternatives))


def _key(sequence: Sequence) -> str:
    """A sequence's id at vLLM."""
    return f"{sequence.request.id} {sequence.index}"
