"""Chat templates: render messages to a prompt as transformers does, in the web tier and the worker.

Needs `jinja2`, but neither transformers nor torch. Templates may use what transformers offers them:
the tag `generation`, `break` and `continue`, `tojson`, `raise_exception`, `strftime_now`, and the
variables `tools`, and `documents`, which is None here.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.utils import Namespace

from common.bounded_jinja import BoundedEnvironment, RenderingStopped
from common.errors import InvalidRequest
from common.structured.tool_prompt import (
    Messages,
    ToolTraits,
    native_messages,
    plain_messages,
    traits_of,
    uses_tools,
)
from common.structured.tools import listed
from common.types import JsonObject

GREETING: Messages = [{"role": "user", "content": "Hello"}]

# Names that `chat_template_kwargs` cannot have: the server decides these (names of transformers and
# vLLM).
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
    """A model's chat template. It comes from the model, not from users, but runs in a sandbox with
    limits, too."""

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
        """Find faults that would make every chat fail. A template that refuses some messages is
        not at fault.

        Raises:
            InvalidRequest: it cannot be read, or does not end even for one short message.
        """
        template = self._read()
        try:
            self._environment.render(template, self._variables(GREETING, None, {}, None))
        except RenderingStopped as error:
            raise InvalidRequest(
                f"the model's chat template does not end for any chat: {_message(error)}",
                field="messages",
            ) from error
        except Exception as error:
            log.info("the chat template refuses a chat of one message: %s", _message(error))

    def render(
        self,
        messages: Messages,
        kwargs: JsonObject | None = None,
        at: int | None = None,
        tools: Sequence[JsonObject] = (),
    ) -> str:
        """The prompt for these messages, up to the start of the assistant's answer.

        `kwargs` are variables of the template, such as Qwen3's `enable_thinking`; unknown ones have
        no effect. `at` is the time that the template sees, in unix seconds: the same time gives the
        same prompt. It is formatted in UTC, so that it does not depend on the machine. `tools` are
        the functions that the answer may call, as they are stored.

        Raises:
            InvalidRequest: the template refuses the messages (roles out of order, no system role,
            …), with its own message; or it fails, or takes too long.
        """
        given = None
        if tools or uses_tools(messages):
            if self.tool_traits.format == "generic":
                messages = plain_messages(messages, tools, self.tool_traits.has_system)
            else:
                messages = native_messages(messages, self.tool_traits)
                given = listed(tools) or None
        return self._render(messages, given, kwargs or {}, at)

    @cached_property
    def tool_traits(self) -> ToolTraits:
        """How the template takes tools; generic if it has no place for them."""
        return traits_of(lambda messages, tools: self._render(messages, tools, {}, 0))

    def _render(self, messages: Messages, tools: Any, kwargs: JsonObject, at: int | None) -> str:
        template = self._read()
        variables = self._variables(messages, tools, kwargs, at)
        try:
            text = self._environment.render(template, variables)
            text.encode()  # a lone surrogate cannot be encoded
        except Exception as error:
            # A template can raise any exception: TypeError, ZeroDivisionError, RecursionError, …
            message = f"the model's chat template refuses these messages: {_message(error)}"
            raise InvalidRequest(message, field="messages") from error
        return text

    def _read(self) -> jinja2.Template:
        try:
            return self._template
        except Exception as error:
            # One that is nested too deeply makes Jinja's parser raise RecursionError.
            message = f"the model's chat template cannot be read: {_message(error)}"
            raise InvalidRequest(message, field="messages") from error

    def _variables(
        self, messages: Messages, tools: Any, kwargs: JsonObject, at: int | None
    ) -> JsonObject:
        moment = time.time() if at is None else at

        def strftime_now(form: str) -> str:
            return datetime.fromtimestamp(moment, UTC).replace(tzinfo=None).strftime(form)

        return {
            **self._special,
            "documents": None,
            **kwargs,
            "messages": messages,
            "tools": tools,
            "add_generation_prompt": True,
            "strftime_now": strftime_now,
        }


class _Generation(Extension):
    """`{% generation %}` marks the assistant's text for training. Its body is rendered, in its own
    scope."""

    tags = {"generation"}  # noqa: RUF012  # Jinja declares it so

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class _Dict:
    """`dict` without the methods that change a dictionary, which the sandbox would not notice."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _Namespace(Namespace):
    """`namespace` without names that begin with an underscore: Python uses those."""

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


def _message(error: Exception) -> str:
    """The message of an error, shortened; for errors that are not the template's own, with their
    type."""
    text = str(error)[:500].encode(errors="backslashreplace").decode()
    if isinstance(error, jinja2.TemplateError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
