"""Makes the results that a worker hands in from what the engine finished.

Moves nothing itself: `worker/exchange.py` does.
"""

from __future__ import annotations

import time

from common.generation import ContinuationScore, Finished, Output, Spelling, TokenLogprob
from common.result_row import (
    ItemResult,
    RowContinuation,
    RowError,
    RowOutput,
    RowUsage,
    SpelledToken,
    TopLogprob,
)
from common.result_row import TokenLogprob as RowLogprob
from common.store.incarnation import Progress, Result, Run, handed_back_blob
from common.store.packing import pack
from common.types import ItemState
from worker.held_items import HeldItem

# Stands for minus infinity, which JSON lacks, as it does in OpenAI's API.
LOWEST_LOGPROB = -9999.0


def result(item: HeldItem, finished: Finished, worker: str) -> Result:
    """The result of an item: its end state and the part of its row that is stored."""
    usage: RowUsage = {
        "prompt_tokens": finished.prompt_tokens,
        "completion_tokens": finished.completion_tokens,
        "total_tokens": finished.prompt_tokens + finished.completion_tokens,
    }
    error: RowError | None = None
    if finished.error:
        error = {"code": finished.error[0], "message": finished.error[1]}
    stored: ItemResult = {
        "outputs": [_row_output(output) for output in finished.outputs],
        "prompt_logprobs": _row_logprobs(finished.prompt_logprobs),
        "usage": usage,
        "error": error,
        "seed": item.seed,
        "attempts": item.attempt,
        "queued_s": item.queued_s,
        "run_s": round(time.monotonic() - item.started, 3),
        "worker": worker,
    }
    if item.resumed_on:
        stored["resumed_on"] = item.resumed_on
    if finished.continuations is not None:
        stored["continuations"] = [_row_continuation(each) for each in finished.continuations]
    return Result(
        item.job_id,
        item.index,
        item.attempt,
        end_state(finished),
        finished.prompt_tokens,
        finished.completion_tokens,
        pack(stored),
    )


def handed_back(item: HeldItem, finished: Finished) -> Result:
    """Hands an item back that was stopped before its end, with its tokens: the next worker
    continues from there."""
    tokens = [output.token_ids for output in finished.outputs]
    progress = Progress(tokens, item.kernels)
    blob = handed_back_blob(progress, item.guidance) if any(tokens) else b""
    return Result(item.job_id, item.index, item.attempt, ItemState.PENDING, 0, 0, blob)


def results_of_deleted_job(run: Run) -> list[Result]:
    """Empty results for the items of a deleted job. The store refuses them and no longer counts the
    items as held."""
    indices = range(run.first, run.first + run.count)
    return [
        Result(run.job_id, index, run.attempt, ItemState.CANCELLED, 0, 0, b"") for index in indices
    ]


def end_state(finished: Finished) -> ItemState:
    if finished.error:
        return ItemState.FAILED
    reasons = {output.finish_reason for output in finished.outputs}
    if "cancelled" in reasons:
        return ItemState.CANCELLED
    return ItemState.EXPIRED if "expired" in reasons else ItemState.SUCCEEDED


def _row_output(output: Output) -> RowOutput:
    found: RowOutput = {
        "text": output.text,
        "finish_reason": output.finish_reason,
        "token_count": output.token_count,
        "logprobs": _row_logprobs(output.logprobs),
    }
    if output.json_valid is not None:
        found["json_valid"] = output.json_valid
    if output.reasoning is not None:
        found["reasoning"] = output.reasoning
        found["reasoning_tokens"] = output.reasoning_tokens
    if output.choices is not None:
        found["choices"] = [
            {
                "text": each.text,
                "logprob": _rounded(each.logprob),
                "probability": _share(each.probability),
            }
            for each in output.choices
        ]
    return found


def _row_continuation(found: ContinuationScore) -> RowContinuation:
    """Without its text, which is in the item."""
    row: RowContinuation = {
        "logprob": _rounded(found.logprob),
        "token_count": found.token_count,
        "probability": _share(found.probability),
        "probability_per_token": _share(found.probability_per_token),
    }
    if found.logprobs is not None:
        row["logprobs"] = _row_logprobs(found.logprobs)
    return row


def row_logprob(found: TokenLogprob) -> RowLogprob:
    """A token's log-probability as rows and streams have it."""
    top: list[TopLogprob] = [
        {**_spelled(spelling), "logprob": _rounded(logprob)} for logprob, spelling in found.top
    ]
    logprob = None if found.logprob is None else _rounded(found.logprob)
    return {**_spelled(found.token), "logprob": logprob, "top": top}


def _row_logprobs(found: list[TokenLogprob] | None) -> list[RowLogprob] | None:
    return None if found is None else [row_logprob(each) for each in found]


def _spelled(token: Spelling) -> SpelledToken:
    """`bytes` is there only if they are not those of `token`."""
    if token.raw is None:
        return {"token": token.text, "token_id": token.token_id}
    return {"token": token.text, "token_id": token.token_id, "bytes": list(token.raw)}


def _rounded(logprob: float) -> float:
    """Six decimals are what a float32 holds; the other half of the digits would be noise."""
    return round(max(logprob, LOWEST_LOGPROB), 6)


def _share(probability: float) -> float:
    return float(f"{probability:.9g}")
