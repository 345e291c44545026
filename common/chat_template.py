"""Chat templates: from messages to the prompt they mean, as transformers renders them, in the web
tier and the worker.

Needs `jinja2`, never transformers or torch. What templates are written for: the tag `generation`,
`break` and `continue`, `tojson`, `raise_exception`, `strftime_now`, and `tools` and `documents`
that are none where there are none.
"""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.utils import Namespace

from common.bounded_jinja import BoundedEnvironment, TooMuch
from common.errors import InvalidRequest

Messages = list[dict[str, str]]
GREETING = [{"role": "user", "content": "Hello"}]

# What the caller of a template decides, by transformers' and vLLM's names: `chat_template_kwargs`
# cannot have these.
RESERVED = (
    "messages",
    "tools",
    "add_generation_prompt",
    "continue_final_message",
    "chat_template",
    "tokenize",
)

log = logging.getLogger(__name__)


class ChatTemplate:
    """A model's own chat template. Comes from the model, never from a user; sandboxed and bounded
    all the same."""

    def __init__(self, source: str, special_tokens: dict[str, str]):
        self.source = source
        self._special = special_tokens

    @cached_property
    def _environment(self) -> BoundedEnvironment:
        environment = BoundedEnvironment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, "jinja2.ext.loopcontrols"],
            filters={"tojson": _tojson},
        )
        environment.globals |= {"raise_exception": _raise, "dict": _Dict(), "namespace": _Namespace}
        return environment

    @cached_property
    def _template(self) -> jinja2.Template:
        return self._environment.from_string(self.source)

    def check(self) -> None:
        """Find out at once what would make every chat fail. That a template refuses some is no
        fault of its own.

        Raises:
            InvalidRequest: it cannot be read, or does not end even for a greeting.
        """
        template = self._read()
        try:
            self._environment.render(template, self._variables(GREETING, {}, None))
        except TooMuch as error:
            raise InvalidRequest(
                f"the model's chat template ends for no chat: {_told(error)}", field="messages"
            ) from error
        except Exception as error:
            log.info("the chat template refuses a lone greeting: %s", _told(error))

    def render(
        self, messages: Messages, kwargs: dict[str, Any] | None = None, at: int | None = None
    ) -> str:
        """The prompt for these messages, ending where the assistant is to speak.

        `kwargs` are variables that the template may look at, like Qwen3's `enable_thinking`; those
        it does not know change nothing. `at` is what the template is told that the time is, in unix
        seconds: given again, it makes the same prompt again. Time is told in UTC, so that it does
        not depend on the machine.

        Raises:
            InvalidRequest: the template refuses them (roles out of order, no system role, …), in
            its own words; or it
                breaks, or takes too long, on them.
        """
        template = self._read()
        try:
            text = self._environment.render(template, self._variables(messages, kwargs or {}, at))
            text.encode()  # half of a surrogate pair is no text
        except Exception as error:
            # A template can raise anything: TypeError, ZeroDivisionError, RecursionError, ….
            message = f"the model's chat template refuses these messages: {_told(error)}"
            raise InvalidRequest(message, field="messages") from error
        return text

    def _read(self) -> jinja2.Template:
        try:
            return self._template
        except Exception as error:
            # Nested too deeply, for one, it makes Jinja's parser raise RecursionError.
            message = f"the model's chat template cannot be read: {_told(error)}"
            raise InvalidRequest(message, field="messages") from error

    def _variables(
        self, messages: Messages, kwargs: dict[str, Any], at: int | None
    ) -> dict[str, Any]:
        moment = time.time() if at is None else at

        def strftime_now(form: str) -> str:
            return datetime.fromtimestamp(moment, UTC).replace(tzinfo=None).strftime(form)

        return {
            **self._special,
            "documents": None,
            **kwargs,
            "messages": messages,
            "tools": None,
            "add_generation_prompt": True,
            "strftime_now": strftime_now,
        }


class _Generation(Extension):
    """`{% generation %}` marks what the assistant said, for training; rendered is its body, in a
    scope of its own."""

    tags = {"generation"}  # noqa: RUF012  # Jinja declares it so

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class _Dict:
    """`dict` without the methods that would change one behind the sandbox's back."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _Namespace(Namespace):
    """`namespace` whose names do not begin with an underscore: those are Python's own."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # a template may call a variable `self`
        self, *given = args
        found = dict(*given, **kwargs)
        for name in found:
            _refuse_private(name)
        Namespace.__init__(self, found)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_private(name)
        super().__setitem__(name, value)


def _refuse_private(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(
            f"a namespace takes no name that begins with an underscore: {name[:64]}"
        )


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _told(error: Exception) -> str:
    """A template's own words as they are; of other errors also what kind they are of. Never
    long."""
    text = str(error)[:500].encode(errors="backslashreplace").decode()
    if isinstance(error, jinja2.TemplateError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
