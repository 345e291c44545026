"""From a claimed item to the engine's request, and from what the engine finished to the result that
is handed in.

Knows the shapes on both sides; moves nothing itself.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

import redis
from pydantic import ValidationError

from common.chat_template import ChatTemplate
from common.errors import InvalidRequest, PromptmillError
from common.store.fleet import Result, Run
from common.store.jobs import (
    TEMPLATE_KWARGS,
    Chunk,
    Head,
    JobStore,
    effective_params,
    effective_template_kwargs,
)
from common.store.packing import pack
from common.tokenizer import Tokenizer
from common.types import (
    Finished,
    ItemState,
    ModelCard,
    Request,
    SamplingParams,
    Spelling,
    TokenLogprob,
)

log = logging.getLogger(__name__)

IMPOSSIBLE = -9999.0  # the log-probability of what the model rules out, as OpenAI spells it
# Of 64 items; single-item claims of one job mostly hit the chunk of the claim before.
CACHED_CHUNKS = 128
CACHED_BYTES = 32 * 2**20  # of their JSON; read, they take a few times as much
# That are honoured here, or by whoever makes the answer (`ask`); any other comes from a newer web
# tier.
ITEM_FIELDS = {
    "custom_id",
    "prompt",
    "prompt_ids",
    "messages",
    TEMPLATE_KWARGS,
    "stream",
    "params",
    "metadata",
    "refused",
    "ask",
}


@dataclass(frozen=True, slots=True)
class Claim:
    """An item this worker holds: what fences its result, and what the result will tell."""

    job_id: str
    index: int
    attempt: int
    seed: int
    queued_s: float
    started: float  # monotonic seconds
    streamed: bool = False
    resumed: int = 0  # tokens it had when it started, of all its continuations


class ClaimReader:
    """Reads the inputs of claimed runs and makes requests of them."""

    def __init__(self, store: JobStore, tokenizer: Tokenizer, card: ModelCard):
        self._store = store
        self._tokenizer = tokenizer
        self._digest = card.digest
        self._template = (
            ChatTemplate(card.chat_template, card.special_tokens) if card.chat_template else None
        )
        # The one used last at the end.
        self._chunks: OrderedDict[tuple[str, int], Chunk] = OrderedDict()
        self._heads: OrderedDict[str, Head] = OrderedDict()  # by job, shared by its chunks
        self._cached = 0  # bytes
        self._ids = itertools.count()

    def read(self, run: Run, now: int) -> list[tuple[Claim, Request | InvalidRequest]]:
        """A claim and its request for every item of a run, or what makes an item impossible to run.

        `now` is the server's clock at the claim, in ms.

        Raises:
            NotFound: the job was deleted meanwhile.
            Unavailable: the server is away.
        """
        claims = [_claim(run, index) for index in range(run.first, run.first + run.count)]
        try:
            chunk = self._chunk(run)
        except (PromptmillError, redis.RedisError):
            raise
        except Exception as error:  # nothing of the chunk can be read; other chunks can
            return [(claim, _unreadable(claim, error)) for claim in claims]
        head = chunk.head
        queued_s = round(max(0, now - head.created_at) / 1000, 3)
        found: list[tuple[Claim, Request | InvalidRequest]] = []
        for claim in claims:
            claim = replace(claim, queued_s=queued_s)
            try:
                if head.digest != self._digest:
                    raise _other_model()
                found.append(self._prepare(claim, head, chunk.items[claim.index - run.chunk]))
            except InvalidRequest as error:
                found.append((claim, error))
            except Exception as error:  # one item that cannot be read must not keep the others
                found.append((claim, _unreadable(claim, error)))
        return found

    def forget(self) -> None:
        """Drop what was read: the server may have lost it, and have other content in its place."""
        self._chunks.clear()
        self._heads.clear()
        self._cached = 0

    def _prepare(self, claim: Claim, head: Head, item: dict[str, Any]) -> tuple[Claim, Request]:
        if unknown := item.keys() - ITEM_FIELDS:
            raise _Unknown(", ".join(sorted(unknown)))
        if why := item.get("refused"):
            raise InvalidRequest(why["message"], code=why["code"])
        params = SamplingParams.model_validate(effective_params(head.spec, item))
        claim = replace(claim, streamed=item.get("stream", False))
        if params.seed is not None:
            claim = replace(claim, seed=params.seed)
        request = self._request(item, params, claim.seed, head.spec)
        request.interactive = head.interactive
        return claim, request

    def _chunk(self, run: Run) -> Chunk:
        key = (run.job_id, run.chunk)
        chunk = self._chunks.pop(key, None)
        if chunk is None:
            chunk = self._store.chunk(*key, self._heads.get(run.job_id))
            self._cached += chunk.size
        self._chunks[key] = chunk
        self._heads[run.job_id] = chunk.head
        self._heads.move_to_end(run.job_id)
        while len(self._chunks) > CACHED_CHUNKS or (
            self._cached > CACHED_BYTES and len(self._chunks) > 1
        ):
            self._cached -= self._chunks.popitem(last=False)[1].size
        while len(self._heads) > CACHED_CHUNKS:
            self._heads.popitem(last=False)
        return chunk

    def _request(
        self, item: dict[str, Any], params: SamplingParams, seed: int, spec: dict[str, Any]
    ) -> Request:
        if "prompt_ids" in item:
            ids = item["prompt_ids"]
            text = self._tokenizer.decode(ids)
        else:
            plain = "prompt" in item
            text = item["prompt"] if plain else self._render(item, spec)
            ids = self._tokenizer.encode(text, special=plain)
        return Request(str(next(self._ids)), text, ids, params, seed)

    def _render(self, item: dict[str, Any], spec: dict[str, Any]) -> str:
        if self._template is None:
            raise InvalidRequest(
                "the model has no chat template; send `prompt` instead of `messages`",
                code="no_chat_template",
            )
        return self._template.render(
            item["messages"], effective_template_kwargs(spec, item), spec.get("rendered_at")
        )


def _other_model() -> InvalidRequest:
    """Items are counted, rendered and seeded for the model that was served when they came; no other
    runs them."""
    message = (
        "the model was replaced by another under its name since this was submitted; retry "
        "it for the new one"
    )
    return InvalidRequest(message, code="model_replaced")


class _Unknown(Exception):
    """Fields of an item that this worker does not know."""


def _claim(run: Run, index: int) -> Claim:
    return Claim(run.job_id, index, run.attempt, seed_of(run.job_id, index), 0.0, time.monotonic())


def _unreadable(claim: Claim, error: Exception) -> InvalidRequest:
    """Nothing is dropped without a word: an item that a newer web tier wrote fails here, and names
    what is new."""
    log.warning("cannot read item %d", claim.index, extra={"job": claim.job_id}, exc_info=error)
    what = f"({type(error).__name__})"
    if isinstance(error, ValidationError):
        what = ", ".join(f"params.{'.'.join(map(str, each['loc']))}" for each in error.errors())
    elif isinstance(error, KeyError | _Unknown):
        what = str(error.args[0])
    message = (
        f"this worker cannot read {what} of the item; upgrade the workers to the web tier's "
        "version, then retry"
    )
    return InvalidRequest(message, code="unreadable")


def handed_back(claim: Claim, finished: Finished) -> Result:
    """An item that was stopped half-way goes back, with the tokens it has: whoever takes it goes on
    from there."""
    tokens = [output.token_ids for output in finished.outputs]
    return Result(
        claim.job_id,
        claim.index,
        claim.attempt,
        ItemState.PENDING,
        0,
        0,
        pack(tokens) if any(tokens) else b"",
    )


def forgotten(run: Run) -> list[Result]:
    """Empty results for a run of a deleted job: the store refuses them, and counts the items as
    held no longer."""
    indices = range(run.first, run.first + run.count)
    return [
        Result(run.job_id, index, run.attempt, ItemState.CANCELLED, 0, 0, b"") for index in indices
    ]


def seed_of(job_id: str, index: int) -> int:
    """The seed of an item that was given none: differs between items and jobs, stays the same over
    attempts."""
    return (
        int.from_bytes(hashlib.sha256(f"{job_id} {index}".encode()).digest()[:8], "big") >> 11
    )  # 53 bits: whole in every JSON reader


def result(claim: Claim, finished: Finished, worker: str) -> Result:
    """What is handed in for an item: its end state and the part of its row that is stored."""
    usage = {
        "prompt_tokens": finished.prompt_tokens,
        "completion_tokens": finished.completion_tokens,
        "total_tokens": finished.prompt_tokens + finished.completion_tokens,
    }
    outputs = [
        {
            "text": o.text,
            "finish_reason": o.finish_reason,
            "token_count": o.token_count,
            "logprobs": _shown(o.logprobs),
        }
        for o in finished.outputs
    ]
    stored = {
        "outputs": outputs,
        "prompt_logprobs": _shown(finished.prompt_logprobs),
        "usage": usage,
        "error": {"code": finished.error[0], "message": finished.error[1]}
        if finished.error
        else None,
        "seed": claim.seed,
        "attempts": claim.attempt,
        "queued_s": claim.queued_s,
        "run_s": round(time.monotonic() - claim.started, 3),
        "worker": worker,
    }
    return Result(
        claim.job_id,
        claim.index,
        claim.attempt,
        end_state(finished),
        finished.prompt_tokens,
        finished.completion_tokens,
        pack(stored),
    )


def shown_logprob(found: TokenLogprob) -> dict[str, Any]:
    """As rows and streams show it."""
    top = [_spelled(spelling) | {"logprob": _rounded(logprob)} for logprob, spelling in found.top]
    return _spelled(found.token) | {"logprob": _rounded(found.logprob), "top": top}


def _shown(found: list[TokenLogprob] | None) -> list[dict[str, Any]] | None:
    return None if found is None else [shown_logprob(each) for each in found]


def _spelled(token: Spelling) -> dict[str, Any]:
    """`bytes` only where they are not those of `token`."""
    found: dict[str, Any] = {"token": token.text, "token_id": token.token_id}
    return found if token.raw is None else found | {"bytes": list(token.raw)}


def _rounded(logprob: float | None) -> float | None:
    """To what a float32 can tell, which is half the digits; JSON has no infinity."""
    return None if logprob is None else round(max(logprob, IMPOSSIBLE), 6)


def end_state(finished: Finished) -> ItemState:
    if finished.error:
        return ItemState.FAILED
    reasons = {output.finish_reason for output in finished.outputs}
    if "cancelled" in reasons:
        return ItemState.CANCELLED
    return ItemState.EXPIRED if "expired" in reasons else ItemState.SUCCEEDED
