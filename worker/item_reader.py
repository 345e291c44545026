"""Reads the inputs of the items that a worker was given, and makes the engine's requests of them.

Knows the store and the engine's request; moves nothing itself.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import time
from collections import OrderedDict
from dataclasses import replace

import redis
from pydantic import ValidationError

from common.chat_template import ChatTemplate
from common.errors import InvalidRequest, PromptmillError
from common.generation import Request
from common.params import SamplingParams
from common.prompting.prepare import Preparation
from common.prompting.stored import StoredPrompts
from common.store.incarnation import Run
from common.store.job_items import Chunk, Head
from common.store.jobs import JobStore
from common.store.rows import effective_params
from common.stored_item import ITEM_FIELDS, StoredItem
from common.structured.guidance import version
from common.structured.tool_grammar import TAGS, item_grammar
from common.structured.tools import ToolSet
from common.tokenizer import Tokenizer
from common.types import ModelCard
from worker.held_items import HeldItem
from worker.thinking import marks, span

log = logging.getLogger(__name__)

# Of 64 items each. The one-item claims of a job mostly need the chunk of the claim before.
CACHED_CHUNKS = 128
CACHED_BYTES = 32 * 2**20  # of the chunks' JSON; in memory they take a few times as much

# Numbers of requests, of all models that this process serves: they may share an engine.
_REQUESTS = itertools.count()


class ItemReader:
    """Reads the inputs of runs of items, for the model of one card."""

    def __init__(self, store: JobStore, tokenizer: Tokenizer, card: ModelCard):
        self._store = store
        self._tokenizer = tokenizer
        self._digest = card.digest
        ids = ((tag, tokenizer.added_id(tag)) for tag in TAGS)
        self._tags = tuple((tag, token) for tag, token in ids if token is not None)
        self._marks = marks(tokenizer, card.chat_template)
        template = (
            ChatTemplate(card.chat_template, card.special_tokens) if card.chat_template else None
        )
        self._prompts = StoredPrompts(tokenizer, template, card.context)
        # Least recently used first.
        self._chunks: OrderedDict[tuple[str, int], Chunk] = OrderedDict()
        self._heads: OrderedDict[str, Head] = OrderedDict()  # by job, shared by its chunks
        # Of the jobs whose prompts are made of something else.
        self._preparations: dict[str, Preparation] = {}
        self._cached = 0  # bytes

    def read(self, run: Run, now: int) -> list[tuple[HeldItem, Request | InvalidRequest]]:
        """Each item of a run with its request, or with the error that makes it impossible to run.

        `now` is the server's clock at the claim, in ms.

        Raises:
            NotFound: the job was deleted in the meantime.
            Unavailable: the server cannot be reached.
        """
        held = [_held_item(run, index) for index in range(run.first, run.first + run.count)]
        try:
            chunk = self._chunk(run)
        except (PromptmillError, redis.RedisError):
            raise
        except Exception as error:  # nothing of this chunk can be read; other chunks can
            return [(each, _unreadable(each, error)) for each in held]
        head = chunk.head
        queued_s = round(max(0, now - head.created_at) / 1000, 3)
        found: list[tuple[HeldItem, Request | InvalidRequest]] = []
        for each in held:
            each = replace(each, queued_s=queued_s)
            try:
                if head.digest != self._digest:
                    raise _other_model()
                found.append(self._prepare(each, head, chunk.items[each.index - run.chunk]))
            except InvalidRequest as error:
                found.append((each, error))
            except Exception as error:  # an item that cannot be read must not stop the others
                found.append((each, _unreadable(each, error)))
        return found

    def forget(self) -> None:
        """Empty the cache: after a failover the server may have other content in these places."""
        self._chunks.clear()
        self._heads.clear()
        self._preparations.clear()
        self._cached = 0

    def _prepare(self, held: HeldItem, head: Head, item: StoredItem) -> tuple[HeldItem, Request]:
        if unknown := item.keys() - ITEM_FIELDS:
            raise _UnknownFields(", ".join(sorted(unknown)))
        if why := item.get("refused"):
            raise InvalidRequest(why["message"], code=why["code"])
        params = SamplingParams.model_validate(effective_params(head.spec, item))
        held = replace(held, streamed=item.get("stream", False))
        if params.seed is not None:
            held = replace(held, seed=params.seed)
        request = self._request(item, params, held, head)
        request.interactive = head.interactive
        if request.grammar:
            held = replace(held, guidance=version())
        return held, request

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
            self._preparations.pop(self._heads.popitem(last=False)[0], None)
        return chunk

    def _request(
        self, item: StoredItem, params: SamplingParams, held: HeldItem, head: Head
    ) -> Request:
        plain = True
        if "prompt_ids" in item:
            ids = item["prompt_ids"]
            text = self._tokenizer.decode(ids)
        else:
            preparation = self._preparation(held.job_id, head)
            text, plain = self._prompts.text(item, head.spec, preparation, params.max_tokens)
            ids = self._tokenizer.encode(text, special=plain)
        request = Request(str(next(_REQUESTS)), text, ids, params, held.seed)
        texts = item.get("continuations") or params.scored_labels
        if texts is not None:  # scored, not written
            request.continuations = [self._tokenizer.encode(each, special=False) for each in texts]
            return request
        tools = ToolSet.model_validate(item["tools"]) if "tools" in item else None
        request.grammar = item_grammar(params.output, tools, self._prompts.tool_format, self._tags)
        request.thinking = span(self._marks, text, params, is_chat=not plain)
        return request

    def _preparation(self, job_id: str, head: Head) -> Preparation | None:
        if not head.prep:
            return None
        if job_id not in self._preparations:
            self._preparations[job_id] = Preparation(head.prep)
        return self._preparations[job_id]


def seed_of(job_id: str, index: int) -> int:
    """The seed of an item whose params have none: it differs between items and between jobs, and is
    the same for every attempt."""
    digest = hashlib.sha256(f"{job_id} {index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 11  # 53 bits: every JSON reader keeps them exactly


def _held_item(run: Run, index: int) -> HeldItem:
    seed = seed_of(run.job_id, index)
    return HeldItem(run.job_id, index, run.attempt, seed, 0.0, time.monotonic())


def _other_model() -> InvalidRequest:
    """An item's tokens, prompt and seed belong to the model it was submitted for, so no other model
    runs it."""
    message = (
        "the model was replaced by another under its name since this was submitted; retry "
        "it for the new one"
    )
    return InvalidRequest(message, code="model_replaced")


class _UnknownFields(Exception):
    """Fields of an item that this version of the worker does not know."""


def _unreadable(held: HeldItem, error: Exception) -> InvalidRequest:
    """The error of an item that a newer web tier wrote; it names what this worker does not know."""
    log.warning("cannot read item %d", held.index, extra={"job": held.job_id}, exc_info=error)
    what = f"({type(error).__name__})"
    if isinstance(error, ValidationError):
        what = ", ".join(f"params.{'.'.join(map(str, each['loc']))}" for each in error.errors())
    elif isinstance(error, KeyError | _UnknownFields):
        what = str(error.args[0])
    message = (
        f"this worker cannot read {what} of the item; upgrade the workers to the web tier's "
        "version, then retry"
    )
    return InvalidRequest(message, code="unreadable")
