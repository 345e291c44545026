"""Checks a job's items against its model, a chunk at a time, and adds up what they will cost.

Knows nothing of Redis or HTTP: drafts go in, records for the store come out, and every fault is
noted with its place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import NoReturn

from pydantic import ValidationError

from common.cooperate import give_way
from common.errors import InvalidRequest, TooLarge
from common.params import SamplingParams
from common.settings import Settings
from common.stored_item import StoredItem
from web.intake.counting import count_tokens, is_too_long
from web.intake.drafts import Draft
from web.intake.records import item_record, refused_record
from web.intake.validation_messages import MOST_FAULTS, Entry, explain
from web.schemas.requests import INPUTS, Item, JobOptions
from web.services.models import Model

CHUNK = 64  # items tokenized together
CHUNK_CHARACTERS = 1 << 20  # after which no further item joins them
LONG = 0.02  # seconds after which others are served before the next item is read
MOST_STREAMS = 512  # continuations of a job: how far each is told must fit into a header


class Fault(Exception):
    """One thing wrong with one item."""

    def __init__(self, code: str, field: str, message: str):
        super().__init__(message)
        self.code = code
        self.field = field


class Broken(Fault):
    """One thing wrong with what was sent as a whole, whatever else is in it."""


@dataclass(slots=True)
class _Read:
    """An item that is right in itself, its place in the chunk, and the text that the model will
    read."""

    place: int
    draft: Draft
    item: Item
    text: str | None  # None: token ids were sent


@dataclass
class Totals:
    items: int = 0
    prompt_tokens: int = 0
    max_prompt_tokens: int = 0
    max_completion_tokens: int = 0
    n_max: int = 1
    streams: int = 0  # continuations
    logprobs: int = 0  # bytes that log-probabilities may take in the results, as stored

    @property
    def cost(self) -> int:
        """Tokens expected of an item, at most: what claiming one charges its tenant."""
        return -(-(self.prompt_tokens + self.max_completion_tokens) // max(1, self.items))

    @property
    def surplus(self) -> int:
        """Of an item, what its result may take beside its tokens; `all_surplus` is that of all."""
        return -(-self.logprobs // max(1, self.items))

    @property
    def all_surplus(self) -> int:
        return self.surplus * self.items


@dataclass
class Intake:
    """One job's. `faults` is full after 100: whoever sees that many mends them before asking for
    more.

    `default_max_tokens` is what an item gets, as far as it fits, that has none; the API's own
    default if None. With `refused_stay` an item that cannot be run stays in the job, to fail there:
    only what is `Broken` is a fault. `rendered_at` is what chat templates are told that the time
    is, in unix seconds: the worker tells them the same.
    """

    model: Model
    options: JobOptions
    limits: Settings
    default_max_tokens: int | None = None
    refused_stay: bool = False
    rendered_at: int = field(default_factory=lambda: int(time.time()))
    totals: Totals = field(default_factory=Totals)
    faults: list[Entry] = field(default_factory=list)
    _seen: dict[str, str] = field(default_factory=dict)  # custom_id -> where

    def accept(self, drafts: Iterable[Draft]) -> Iterator[StoredItem]:
        """Records for the store, as long as nothing is wrong; after the first fault only more
        faults are looked for.

        Raises:
            TooLarge: more items than a job may have.
        """
        source = self._one_by_one(drafts)
        empty = True
        while first := next(source, None):
            empty = False
            records = self._accept_chunk(chain([first], islice(source, CHUNK - 1)))
            if len(self.faults) >= MOST_FAULTS:
                del self.faults[MOST_FAULTS:]
                return
            if not self.faults:
                yield from records
            give_way()
        if empty:
            self.faults.append(
                {"code": "empty_job", "message": "a job needs at least one item", "field": "items"}
            )

    def _one_by_one(self, drafts: Iterable[Draft]) -> Iterator[Draft]:
        """No more drafts than a job may have. Each is taken when the one before it was rendered, so
        that a chunk of slow ones keeps neither other requests waiting nor the drafts' source from
        renewing its claim."""
        began = time.monotonic()
        for count, draft in enumerate(drafts, start=1):
            if count > self.limits.max_items:
                raise TooLarge(
                    f"a job takes at most {self.limits.max_items:,} items; split it", field="items"
                )
            if time.monotonic() - began > LONG:
                give_way()
                began = time.monotonic()
            yield draft

    def know(self, custom_ids: Iterable[tuple[str, str]]) -> None:
        """Names that are taken, each with where."""
        self._seen.update(custom_ids)

    def refuse_taken(self, is_taken: Callable[[str], bool]) -> NoReturn:
        """Refuse what was accepted: some of its custom_ids turned out to be taken by the job.

        Raises:
            InvalidRequest: naming each.
        """
        for custom_id, where in self._seen.items():
            if is_taken(custom_id) and len(self.faults) < MOST_FAULTS:
                message = f"custom_id {custom_id[:64]!r} was used already, at the job"
                self.faults.append(
                    {
                        "code": "duplicate_custom_id",
                        "message": message,
                        "field": f"{where}.custom_id",
                    }
                )
        self.raise_faults()
        raise AssertionError("no custom_id of these is taken")

    def raise_faults(self) -> None:
        if self.faults:
            bad = len(self.faults)
            count = f"{bad} problems" if bad > 1 else "1 problem"
            more = " or more" if bad == MOST_FAULTS else ""
            first = self.faults[0]
            where = f"line {first['line']}: " if "line" in first else ""
            code = str(first["code"]) if bad == 1 else None
            raise InvalidRequest(
                f"{count}{more}, nothing was enqueued; {where}{first['message']}",
                errors=self.faults,
                code=code,
            )

    def _accept_chunk(self, drafts: Iterable[Draft]) -> list[StoredItem]:
        chunk: list[Draft] = []
        read: list[_Read] = []
        # By place in the chunk, and so are faults: told in order.
        records: dict[int, StoredItem] = {}
        faults: list[tuple[int, Entry]] = []
        size = 0

        def refuse(place: int, error: Fault | ValidationError) -> None:
            entries = _entries(error, chunk[place])
            if self.refused_stay and not isinstance(error, Broken):
                records[place] = self._refused(chunk[place], entries[0])
            else:
                faults.extend((place, entry) for entry in entries)

        for place, draft in enumerate(drafts):
            chunk.append(draft)
            try:
                item = self._read(draft)
                read.append(_Read(place, draft, item, self._checked_text(item)))
            except (Fault, ValidationError) as error:
                refuse(place, error)
            else:
                size += len(read[-1].text or "")
                if size > CHUNK_CHARACTERS:
                    break
        for one, tokens in zip(read, self._count(read), strict=True):
            try:
                records[one.place] = (
                    self._record(one.item, tokens, one.draft.default_max_tokens) | one.draft.kept
                )
            except (Fault, ValidationError) as error:
                refuse(one.place, error)
        self.faults += [entry for _, entry in sorted(faults, key=lambda found: found[0])]
        return [record for _, record in sorted(records.items())]

    def _read(self, draft: Draft) -> Item:
        """The draft as an item that is right in itself."""
        if draft.fault:
            raise Broken(draft.code, draft.field, draft.fault)
        if draft.refused:
            self._know(draft.value["custom_id"], draft)
            raise Fault(
                *(str(draft.refused.get(name, "")) for name in ("code", "field", "message"))
            )
        if not isinstance(draft.value, dict):
            raise Fault(
                "wrong_type", "", 'an item must be an object, like {"prompt": "Once upon a time"}'
            )
        item = Item.model_validate(draft.value)
        given = [name for name in INPUTS if getattr(item, name) is not None]
        if len(given) != 1:
            raise Fault(
                "missing_field", "prompt", "give either prompt, prompt_ids or messages, one of them"
            )
        if not getattr(item, given[0]):
            raise Fault("empty_prompt", given[0], f"{given[0]} must not be empty")
        if item.custom_id is not None:
            self._know(item.custom_id, draft)
        return item

    def _know(self, custom_id: str, draft: Draft) -> None:
        where = f"line {draft.line}" if draft.line else draft.path
        before = self._seen.setdefault(custom_id, where)
        if before is not where:
            message = f"custom_id {custom_id[:64]!r} was used already, at {before}"
            raise Broken("duplicate_custom_id", "custom_id", message)

    def _checked_text(self, item: Item) -> str | None:
        """What the model will read, if it may fit into its context; None where its token ids were
        sent."""
        text, tokenizer = self._text(item), self.model.tokenizer
        if text is None or tokenizer is None:
            return text
        context = self.model.card.context
        if is_too_long(tokenizer, text, context):
            what = (
                f"your prompt has {len(text)} characters, which are more tokens than that. "
                "Please reduce its length."
            )
            raise _overflow(context, what, "prompt" if item.messages is None else "messages")
        return text

    def _text(self, item: Item) -> str | None:
        """What the model will read; None where its token ids were sent."""
        kwargs = {**self.options.chat_template_kwargs, **(item.chat_template_kwargs or {})}
        if item.messages is None:
            if kwargs:
                message = (
                    "chat_template_kwargs are for items with messages: nothing else is "
                    "rendered by a chat template"
                )
                raise Fault("invalid_value", "chat_template_kwargs", message)
            return item.prompt
        if self.model.template is None:
            message = (
                f"{self.model.card.id} has no chat template; send a prompt instead of messages"
            )
            raise Fault("no_chat_template", "messages", message)
        try:
            messages = [message.model_dump() for message in item.messages]
            return self.model.template.render(messages, kwargs, self.rendered_at)
        except InvalidRequest as error:
            raise Fault("chat_template_refused", "messages", error.message) from None

    def _count(self, read: list[_Read]) -> list[int | None]:
        """Exact prompt tokens of each. A rendered chat brings its special tokens along; plain text
        gets them."""
        counts = [None if one.item.prompt_ids is None else len(one.item.prompt_ids) for one in read]
        tokenizer = self.model.tokenizer
        if tokenizer is None:
            return counts
        for special in (True, False):
            texts = {
                place: one.text
                for place, one in enumerate(read)
                if one.text is not None and (one.item.prompt is not None) is special
            }
            if texts:
                counted = count_tokens(tokenizer, list(texts.values()), special)
                for place, count in zip(texts, counted, strict=True):
                    counts[place] = count
        return counts

    def _refused(self, draft: Draft, why: Entry) -> StoredItem:
        """What the store keeps of an item that cannot be run: its worker hands it in as failed."""
        self.totals.items += 1
        return refused_record(draft.value["custom_id"], why)

    def _record(self, item: Item, tokens: int | None, default: int | None) -> StoredItem:
        """What the store keeps: only what was given, and max_tokens where its default does not
        fit."""
        own = item.params.model_dump(mode="json", exclude_unset=True) if item.params else {}
        job = self.options.params
        params = (
            SamplingParams.model_validate(job.model_dump(exclude_unset=True) | own) if own else job
        )
        max_tokens = self._fitting_max_tokens(params, tokens, default or self.default_max_tokens)
        if max_tokens != params.max_tokens:
            own["max_tokens"] = max_tokens
        self._check_size(params, max_tokens, tokens or 0)
        self._check_vocabulary(item, params)
        self.totals.items += 1
        self.totals.prompt_tokens += tokens or 0
        self.totals.max_prompt_tokens = max(self.totals.max_prompt_tokens, tokens or 0)
        self.totals.max_completion_tokens += params.n * max_tokens
        self.totals.n_max = max(self.totals.n_max, params.n)
        self.totals.logprobs += params.n * max_tokens * _logprob_bytes(params.logprobs)
        self.totals.logprobs += (tokens or 0) * _logprob_bytes(params.prompt_logprobs)
        self.totals.streams += params.n if item.stream else 0
        if self.totals.streams > MOST_STREAMS:
            message = (
                f"a job streams at most {MOST_STREAMS} continuations; leave stream out of "
                "the other items"
            )
            raise Fault("out_of_range", "stream", message)
        return item_record(item, own)

    def _fitting_max_tokens(
        self, params: SamplingParams, tokens: int | None, default: int | None
    ) -> int:
        given = "max_tokens" in params.model_fields_set
        wanted = params.max_tokens if given else default or params.max_tokens
        if tokens is None:
            return wanted
        context = self.model.card.context
        if tokens == 0:
            raise Fault("empty_prompt", "prompt", "the prompt has no tokens")
        room = context - tokens
        if room < 1:
            what = (
                f"your prompt has {tokens} tokens, and one must be left for the answer. Please "
                "reduce its length."
            )
            raise _overflow(context, what, "prompt")
        if not given:
            return min(wanted, room)
        if wanted > room:
            what = (
                f"you requested {tokens + wanted} tokens ({tokens} in the prompt, {wanted} in the "
                "completion). "
                f"Please reduce the length of the prompt, or of the completion to at most {room} "
                "tokens."
            )
            raise _overflow(context, what, "params.max_tokens")
        return wanted

    def _check_vocabulary(self, item: Item, params: SamplingParams) -> None:
        size = self.model.card.vocabulary
        if size is None:
            return
        asked = (
            ("prompt_ids", item.prompt_ids or ()),
            ("params.stop_token_ids", params.stop_token_ids),
            ("params.logit_bias", params.logit_bias),
        )
        for name, ids in asked:
            if (highest := max(ids, default=0)) >= size:
                message = (
                    f"token id {highest} is none of {self.model.card.id}'s, which are below "
                    f"{size:,}"
                )
                raise Fault("out_of_range", name, message)

    def _check_size(self, params: SamplingParams, max_tokens: int, tokens: int) -> None:
        n, slots, cap = params.n, self.model.card.slots, self.limits.max_item_tokens
        if params.min_tokens > max_tokens:
            whose = (
                "max_tokens"
                if "max_tokens" in params.model_fields_set
                else "max_tokens, which was not given,"
            )
            message = (
                f"min_tokens is {params.min_tokens:,}, but {whose} is {max_tokens:,}; it "
                "may be at most that"
            )
            raise Fault("out_of_range", "params.min_tokens", message)
        if n > slots:
            message = f"n is {n}; {self.model.card.id} runs at most {slots} continuations at once"
            raise Fault("out_of_range", "params.n", message)
        if n * (tokens + max_tokens) > cap:
            message = (
                f"n x (prompt + max_tokens) is {n * (tokens + max_tokens):,} tokens; an "
                f"item may have {cap:,}"
            )
            raise Fault("too_many_tokens", "params.max_tokens", message)


def _overflow(context: int, what: str, field: str) -> Fault:
    """More tokens than the model takes; begins as clients look for it, with a number that they can
    read."""
    message = f"This model's maximum context length is {context} tokens. However, {what}"
    return Fault("context_length_exceeded", field, message)


def _logprob_bytes(alternatives: int | None) -> int:
    """What a token's log-probability takes in a stored result, compressed, with so many
    alternatives: on a chat model 15 bytes were measured with none, and 12 more with each."""
    return 0 if alternatives is None else 20 + 13 * alternatives


def _entries(error: Fault | ValidationError, draft: Draft) -> list[Entry]:
    """What is wrong with an item, with its place in what was sent."""
    line: Entry = {"line": draft.line} if draft.line else {}
    if isinstance(error, ValidationError):
        return [entry | line for entry in explain(error, Item, draft.at)]
    entry: Entry = {
        "code": error.code,
        "message": str(error),
        "field": draft.at(error.field, error.code),
    }
    return [{name: value for name, value in entry.items() if value} | line]
