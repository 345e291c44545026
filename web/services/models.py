"""The models that jobs may name: their cards, each with its tokenizer and chat template ready for
counting."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from common.chat_template import ChatTemplate
from common.errors import ConfigError, InvalidRequest, NotFound
from common.store.fleet import Fleet
from common.tokenizer import Tokenizer, load
from common.types import ModelCard
from common.worker_command import none_yet

CARD_AGE = 1.0  # seconds
MOST_LOADED = 8  # tokenizers kept; a large one takes 100 MB


@dataclass(frozen=True)
class Model:
    """A card with its tokenizer and chat template. `tokenizer` is None where only the worker can
    count."""

    card: ModelCard
    tokenizer: Tokenizer | None
    template: ChatTemplate | None


class Models:
    """Cards are read anew every second; tokenizers and templates, which take time to load, are kept
    by the card's digest.

    `aliases` are other names of models (alias -> name); they are resolved here, for every dialect.
    """

    def __init__(self, fleet: Fleet, aliases: Mapping[str, str] = MappingProxyType({})):
        self._fleet = fleet
        self.aliases = aliases
        self._read: dict[str, tuple[float, ModelCard]] = {}  # when, in monotonic seconds
        self._loaded: dict[str, tuple[Tokenizer | None, ChatTemplate | None]] = {}
        self._lock = threading.Lock()

    def choose(self, name: str | None) -> Model:
        """The model that a job names; without a name, the only one there is.

        Raises:
            NotFound: no worker ever served it; the message names the known ones.
            InvalidRequest: no name was given, and several are known.
        """
        if name is None:
            name = self._only_one()
        card = self._card(self.served_name(name))
        tokenizer, template = self._tools(card)
        return Model(card, tokenizer, template)

    def served_name(self, name: str) -> str:
        """The name that workers know the model by: what an alias stands for, any other name as it
        is."""
        return self.aliases.get(name, name)

    def refuse_served_aliases(self) -> None:
        """Raise `ConfigError` if a live worker serves its model under the name of an alias:
        requests for that model would get the other one."""
        for worker in self._fleet.workers():
            if worker.model in self.aliases:
                raise ConfigError(
                    f"PROMPTMILL_MODEL_ALIASES: {worker.model} is the name of a model that "
                    f"worker {worker.id} on {worker.host} serves, so it cannot stand for "
                    f"{self.aliases[worker.model]}"
                )

    def _card(self, name: str) -> ModelCard:
        read_at, card = self._read.get(name, (0.0, None))
        if card is None or time.monotonic() - read_at > CARD_AGE:
            card = self._fleet.model(name)
            # Only names that exist are kept, so that requests cannot fill it.
            self._read[name] = time.monotonic(), card
        return card

    def _only_one(self) -> str:
        names = [card.id for card in self._fleet.models()]
        if not names:
            raise NotFound(
                f"no model was ever served here: {none_yet()}",
                code="model_not_found",
                field="model",
            )
        if len(names) > 1:
            message = f"name a model, there are several: {', '.join(names)}"
            raise InvalidRequest(message, code="model_required", field="model")
        return names[0]

    def _tools(self, card: ModelCard) -> tuple[Tokenizer | None, ChatTemplate | None]:
        digest = card.base_digest or card.digest  # a model and its adapters have the same
        with self._lock:
            tools = self._loaded.get(digest)
            if tools is None:
                tokenizer = load(card.tokenizer, self._fleet.tokenizer(digest))
                template = (
                    ChatTemplate(card.chat_template, card.special_tokens)
                    if card.chat_template
                    else None
                )
                tools = (tokenizer, template)
                while len(self._loaded) >= MOST_LOADED:
                    self._loaded.pop(next(iter(self._loaded)))
                self._loaded[digest] = tools
            return tools
