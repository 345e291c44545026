"""What a view takes and gives, written at the view.

`/openapi.json` is made of these descriptions, and `bodies.py` refuses what a view does not take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode


@dataclass(frozen=True)
class Description:
    """What a view takes and gives.

    `status` is that of the good answer; what is `computed` first has a 202 of the same model, with
    `Retry-After`, until it is there. `body` is the JSON body, which may be left out where it
    `may_be_empty`; `upload` is the part beside a file, which is called `part`, and `form` the parts
    beside a file; `query` has the query's parameters and `headers` the names of the request headers
    that are read.
    `media_types` are those of an answer that is no JSON.
    `events` are those of an answer as server-sent events: the data of each by its name, "" for
    events without a name, and None as the data of `[DONE]`, which is that very text. `errors` are
    statuses that do not follow from the rest. A `public` view needs no key, and a view `for_raters`
    takes the cookie of a rater's link in its place.
    """

    summary: str
    answer: type | None = None
    status: int = 200
    computed: bool = False
    body: type[BaseModel] | None = None
    may_be_empty: bool = False
    upload: type[BaseModel] | None = None
    part: str = "job"
    form: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    headers: tuple[str, ...] = ()
    media_types: tuple[str, ...] = ()
    events: Mapping[str, type | None] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    public: bool = False
    for_raters: bool = False

    def models(self) -> list[tuple[type, JsonSchemaMode]]:
        asked: list[tuple[type, JsonSchemaMode]] = [
            (model, "validation")
            for model in (self.body, self.upload, self.form, self.query)
            if model
        ]
        given = [model for model in (self.answer, *self.events.values()) if model]
        return [*asked, *((model, "serialization") for model in given)]


def described(summary: str, answer: type | None = None, **more: Any) -> Callable[[Any], Any]:
    """Put a view into the specification; `more` are the other fields of `Description`. A test finds
    views of the API that are not described."""
    description = Description(summary, answer, **more)

    def mark(view: Any) -> Any:
        view.description = description
        return view

    return mark


def description_of(app: Flask, endpoint: str) -> Description | None:
    found: Description | None = getattr(app.view_functions[endpoint], "description", None)
    return found
