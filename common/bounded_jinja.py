"""A Jinja environment that limits the time and the output of its templates. Knows nothing of chats.

A template comes with a model, and its input comes from users. Signals cannot stop it, because it is
rendered under gevent and in worker threads. So the environment checks the time at each iteration of
a loop, each call and each filter, and counts what is written and what operators, calls and filters
return.

A single operation of Python cannot be interrupted. The size of those that can return more than they
get (multiply, pad, join, replace, format) is estimated before they run.
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

MOST_SECONDS = 0.5  # of processor time for one rendering
MOST_MADE = 1 << 28  # characters that one rendering may make and write in all
MOST_BITS = 16_384  # of an integer: larger ones take long to multiply
ENTRY = 8  # characters for which an entry of a list counts

# Operators, methods and filters whose result may be as large as the product of their arguments.
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
# Filters of this module; no template can write these names.
STEP, CONCAT = "an iteration", "~"
# A format with a width of millions, or with a width that is a value.
WIDE = re.compile(r"\d{7}|%[^%a-zA-Z]*\*|\{[^{}]*:[^{}]*\{")


class RenderingStopped(jinja2.TemplateError):
    """A rendering passed a limit and was stopped."""


class _Budget:
    """What one rendering may still use. Its methods run at every iteration, so they are fast rather
    than short."""

    __slots__ = ("_end", "_soonest", "left")

    def __init__(self) -> None:
        self._soonest = time.monotonic() + MOST_SECONDS
        self._end = time.thread_time() + MOST_SECONDS
        self.left = MOST_MADE

    def check(self) -> None:
        # The monotonic clock is read faster, and is never behind the thread's processor time.
        if time.monotonic() > self._soonest and time.thread_time() > self._end:
            raise RenderingStopped(f"it did not end within {MOST_SECONDS:g} s")

    def expect(self, size: int) -> None:
        """Raise if a result of this size would pass the limit."""
        if size > self.left:
            raise RenderingStopped(f"it makes more than {MOST_MADE:,} characters")

    def measure(self, value: Any) -> Any:
        size = len(value) if type(value) is str else _size(value)
        if size > self.left:
            self.expect(size)
        self.left -= size
        return value


class _Running(threading.local):
    """The budget of this thread's rendering. While a template is compiled there is none, and Jinja
    then leaves constant expressions to the rendering."""

    budget: Any = None


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox with these limits. Several threads may render its templates at the same time.

    `filters` are added to Jinja's, or replace them.
    """

    intercepted_binops = frozenset({"+", "*", "%", "**"})

    def __init__(self, *, filters: dict[str, Callable[..., Any]], **options: Any):
        super().__init__(finalize=self._written, **options)
        self._running = _Running()
        self.filters = {
            name: self._bounded(name, each) for name, each in (self.filters | filters).items()
        }
        self.filters |= {STEP: self._step, CONCAT: self._concat}
        del self.globals["lipsum"]  # it makes any number of paragraphs in one call

    def render(self, template: jinja2.Template, variables: dict[str, Any]) -> str:
        """The output of the template.

        Raises:
            RenderingStopped: a limit was passed.
            Exception: any other error of the template.
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

    # The parameters have Jinja's names: all other names, `self` too, are keywords of the callee.
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
    def _written(self, context: Context, value: Any) -> Any:  # noqa: ARG002  # with a context, the compiler cannot compute it
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
    """Adds filters that count each iteration of a loop, with the literal text in its body, and the
    result of `~`."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802  # named by Jinja, after its nodes
        self.generic_visit(node)
        literals = sum(
            len(text.data) for part in node.body for text in part.find_all(nodes.TemplateData)
        )
        node.body.insert(
            0,
            nodes.ExprStmt(_filter(STEP, [nodes.Const(literals)], node.lineno), lineno=node.lineno),
        )
        if node.test is not None:  # iterations that it skips do not reach the body
            step = _filter(STEP, [nodes.Const(0)], node.lineno)
            node.test = nodes.And(step, node.test, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
        self.generic_visit(node)
        return _filter(CONCAT, node.nodes, node.lineno)


def _filter(name: str, values: list[nodes.Expr], lineno: int) -> nodes.Filter:
    """A call of a filter, which the compiler makes with the least overhead."""
    return nodes.Filter(values[0], name, values[1:], [], None, None, lineno=lineno)


def _foresee(budget: _Budget, name: str, given: tuple[Any, ...]) -> None:
    """Refuse an operation whose result could be too large; `given` begins with its receiver."""
    if name in PRODUCTS:
        budget.expect(_product(name, given))
    elif name == "**":
        _refuse_large_power(*given)
    elif isinstance(given[0], str) and WIDE.search(given[0]):
        raise RenderingStopped("it formats to a width of millions, or to one that is a value")


def _size(value: Any) -> int:
    """Size in characters; 0 for values without a size.

    Raises:
        RenderingStopped: it is a number of thousands of digits.
    """
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise RenderingStopped("it computes with a number of thousands of digits")
    return ENTRY * len(value) if isinstance(value, list | tuple | dict | set) else 0


def _product(name: str, given: tuple[Any, ...]) -> int:
    """Most characters or entries of the result of an operation of PRODUCTS."""
    if name == "*" and all(isinstance(value, int | float) for value in given):
        return 0
    if name == "replace":
        given = (given[0], *given[2:])  # the replaced text does not add to the size
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
        raise RenderingStopped("it computes with a number of thousands of digits")
