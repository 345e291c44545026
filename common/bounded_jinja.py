"""A Jinja environment whose templates can neither run for long nor grow without bound. Knows
nothing of chats.

A template comes with a model, and what it works on comes from users. No signal can stop it, because
it is rendered under gevent and in worker threads. So the environment looks at the time at each turn
of a loop, call and filter, and measures what is written and what operators, calls and filters make.

A single operation of Python is never interrupted. Those that can make more than they are given
(multiplying, padding, joining, replacing, formatting) are estimated before they run.
"""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context
from jinja2.sandbox import MAX_RANGE, ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MOST_SECONDS = 0.5  # of processor time, for one rendering
MOST_MADE = 1 << 28  # characters of all that one rendering makes and writes
MOST_BITS = 16_384  # of a whole number: larger ones take long to multiply
ENTRY = 8  # characters that an entry of a list counts as

# Operators, methods and filters whose result may be as large as the product of what they are given.
PRODUCTS = frozenset(
    {
        "*",
        "batch",
        "center",
        "expandtabs",
        "indent",
        "join",
        "ljust",
        "replace",
        "rjust",
        "slice",
        "to_bytes",
    }
    | {"tojson", "wordwrap", "zfill"}
)
WATCHED = PRODUCTS | {"**", "%", "format", "format_map"}
# Filters of this module's own: names that no template can write.
STEP, CONCAT = "a turn of a loop", "~"
# A width of millions, or one that is a value.
WIDE = re.compile(r"\d{7}|%[^%a-zA-Z]*\*|\{[^{}]*:[^{}]*\{")


class TooMuch(jinja2.TemplateError):
    """A rendering was stopped."""


class _Budget:
    """What one rendering may still use. Its methods are called at every turn, so they are short
    rather than shared."""

    __slots__ = ("_end", "_soonest", "left")

    def __init__(self) -> None:
        self._soonest = time.monotonic() + MOST_SECONDS
        self._end = time.thread_time() + MOST_SECONDS
        self.left = MOST_MADE

    def check(self) -> None:
        # The monotonic clock is the cheaper one to read, and never behind the thread's own.
        if time.monotonic() > self._soonest and time.thread_time() > self._end:
            raise TooMuch(f"it did not end within {MOST_SECONDS:g} s")

    def expect(self, size: int) -> None:
        """Raise before so much is made, where that is more than is left."""
        if size > self.left:
            raise TooMuch(f"it makes more than {MOST_MADE:,} characters")

    def measure(self, value: Any) -> Any:
        size = len(value) if type(value) is str else _size(value)
        if size > self.left:
            self.expect(size)
        self.left -= size
        return value


class _Running(threading.local):
    """The budget of the rendering that this thread is in. While a template is compiled there is
    none: Jinja then leaves to rendering what it would have computed for good."""

    budget: Any = None


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox with these bounds. Several threads may render its templates at once.

    `filters` are added to Jinja's own, or replace them.
    """

    intercepted_binops = frozenset({"+", "*", "%", "**"})

    def __init__(self, *, filters: dict[str, Callable[..., Any]], **options: Any):
        super().__init__(finalize=self._written, **options)
        self._running = _Running()
        self.filters = {
            name: self._bounded(name, each) for name, each in (self.filters | filters).items()
        }
        self.filters |= {STEP: self._step, CONCAT: self._concat}
        del self.globals["lipsum"]  # writes as many paragraphs as it is told to, in one call

    def render(self, template: jinja2.Template, variables: dict[str, Any]) -> str:
        """What the template writes.

        Raises:
            TooMuch: a bound was met.
            Exception: whatever else a template can do wrong.
        """
        self._running.budget = _Budget()
        try:
            return template.render(variables)
        finally:
            self._running.budget = None

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Counting().visit(super()._parse(source, name, filename))
        tree.set_environment(self)
        return tree

    # Its own parameters are named as Jinja's: `self` and all others are free for the callee's
    # keywords.
    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        budget = __self._running.budget
        budget.check()
        name = getattr(__obj, "__name__", "")
        if name in WATCHED:
            method = getattr(__obj, "__wrapped__", __obj)  # the sandbox wraps methods that format
            _foresee(budget, name, (getattr(method, "__self__", None), *args, *kwargs.values()))
        return budget.measure(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        budget = self._running.budget
        if operator == "+":  # what templates do most
            return budget.measure(left + right)
        _foresee(budget, operator, (left, right))
        return budget.measure(super().call_binop(context, operator, left, right))

    def _bounded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        first = 1 if hasattr(function, "jinja_pass_arg") else 0

        @functools.wraps(function)
        def bounded(*args: Any, **kwargs: Any) -> Any:
            budget = self._running.budget
            budget.check()
            if name in WATCHED:
                _foresee(budget, name, (*args[first:], *kwargs.values()))
            return budget.measure(function(*args, **kwargs))

        return bounded

    @jinja2.pass_context
    def _written(self, context: Context, value: Any) -> Any:  # noqa: ARG002  # a context is what the compiler lacks
        return self._running.budget.measure(value)

    def _step(self, literals: int) -> bool:
        budget = self._running.budget
        budget.check()
        budget.expect(literals)
        budget.left -= literals
        return True

    def _concat(self, first: Any, *more: Any) -> str:
        return str(self._running.budget.measure("".join(map(str, (first, *more)))))


class _Counting(NodeTransformer):
    """Has each turn of a loop counted, with the literal text in its body, and what `~` joins
    measured."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802  # named by Jinja, after its nodes
        self.generic_visit(node)
        literals = sum(
            len(text.data) for part in node.body for text in part.find_all(nodes.TemplateData)
        )
        node.body.insert(
            0,
            nodes.ExprStmt(_filter(STEP, [nodes.Const(literals)], node.lineno), lineno=node.lineno),
        )
        if node.test is not None:  # turns that it skips do not reach the body
            step = _filter(STEP, [nodes.Const(0)], node.lineno)
            node.test = nodes.And(step, node.test, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
        self.generic_visit(node)
        return _filter(CONCAT, node.nodes, node.lineno)


def _filter(name: str, values: list[nodes.Expr], lineno: int) -> nodes.Filter:
    """A filter is what the compiler calls most directly."""
    return nodes.Filter(values[0], name, values[1:], [], None, None, lineno=lineno)


def _foresee(budget: _Budget, name: str, given: tuple[Any, ...]) -> None:
    """Refuse an operation that could make too much of what it is given, its receiver first."""
    if name in PRODUCTS:
        budget.expect(_product(name, given))
    elif name == "**":
        _refuse_large_power(*given)
    elif isinstance(given[0], str) and WIDE.search(given[0]):
        raise TooMuch("it formats to a width of millions, or to one that is a value")


def _size(value: Any) -> int:
    """In characters; 0 for what has no size.

    Raises:
        TooMuch: it is a number of thousands of digits.
    """
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise TooMuch("it computes with a number of thousands of digits")
    return ENTRY * len(value) if isinstance(value, list | tuple | dict | set) else 0


def _product(name: str, given: tuple[Any, ...]) -> int:
    """The most characters or entries that an operation of PRODUCTS makes."""
    if name == "*" and all(isinstance(value, int | float) for value in given):
        return 0
    if name == "replace":
        given = (given[0], *given[2:])  # what is replaced makes nothing larger
    factors = [_factor(value) for value in given]
    return factors[0] * max(factors[1:], default=1)


def _factor(value: Any) -> int:
    if isinstance(value, int):
        return abs(value)
    if hasattr(value, "__len__"):
        return max(1, len(value))
    return MAX_RANGE if isinstance(value, Iterator) else 1


def _refuse_large_power(base: Any, exponent: Any) -> None:
    if (
        isinstance(base, int)
        and isinstance(exponent, int)
        and base.bit_length() * exponent > MOST_BITS
    ):
        raise TooMuch("it computes with a number of thousands of digits")
