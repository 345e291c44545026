"""The Lua scripts: every move of more than one key is one of these, so that it happens whole or not
at all.

Each file under `lua/` opens with its arguments by name and with its answer; before it come those
files of `lua/lib/` that it needs. Scripts are called with keywords, and what a script takes any
number of (`rest`) follows by position: one more argument shifts nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from importlib.resources import files
from typing import Any, NamedTuple

import redis
from redis.client import Pipeline

from common.store import keys

# Of the records; 1 is what kept no version. Raise it with every change that an older part would
# misread.
SCHEMA = 5

READS = {"rows", "pick"}  # run on a server that takes no writes, too
# Scripts that give memory back or keep a promise already made must run on a full server too.
ALLOW_OOM = {
    "meet",
    "exchange",
    "checkpoint",
    "edit",
    "heartbeat",
    "release",
    "cancel",
    "delete",
    "tick",
    "drain_worker",
    "claim_hooks",
    "record_hook",
    "claim_batch",
    "claim_sizing",
    "end_sizing",
    "forget_files",
    "forget_preset",
    "hold_batch",
    "cancel_batch",
    "note_batch",
    "end_batch",
    "claim_derived",
    "hold_derived",
    "end_derived",
    "claim_evaluation",
    "hold_evaluation",
    "end_evaluation",
    "begin_session",
    "end_link",
    "end_sessions",
    "revoke_key",
    "permit",
    "hold_permits",
    "hold_gpus",
    "release_gpus",
    "delete_study",
    "revoke_rater",
    "undo_vote",
}
NAMES = (
    "attach",
    "append",
    "keep_file",
    "keep_form",
    "keep_preset",
    "keep_scores",
    "keep_verdict",
    "begin_sweep",
    "create_comparison",
    "claim_comparison",
    "keep_comparison",
    "list_keys",
    "copy_items",
    "copy_stage",
    "create_batch",
    "create_evaluation",
    "create_key",
    "create_share",
    "describe",
    "submit_derived",
    "make_link",
    "stream",
    "create_study",
    "add_rater",
    "give_task",
    "keep_vote",
    *sorted(READS),
    *sorted(ALLOW_OOM),
)


# What scripts begin with, as far as they need it: each file may use what those before it define.
LIBRARY = (
    *("keys", "job", "admission", "submit", "save", "notify"),
    *("turns", "derived", "evaluations", "ready", "finish", "attempts", "wakes", "comparisons"),
    *("remove", "members", "history", "ratings"),
)
# Scripts that are several files, one after the other.
PARTS = {"exchange": ("charges", "results", "claims", "suspects", "serve", "answer")}


@cache
def source(name: str) -> str:
    """The full text of a script as Redis compiles it."""
    flags = " flags=no-writes" if name in READS else " flags=allow-oom" if name in ALLOW_OOM else ""
    head = f"#!lua{flags}\nlocal SCHEMA = {SCHEMA}\n"
    parts = [_text(name), *(_text(f"{name}/{part}") for part in PARTS.get(name, ()))]
    return head + "\n".join([*_needed("\n".join(parts)), _locals(arguments(name)), *parts])


def _needed(script: str) -> list[str]:
    """The files of the library that a script needs: those that define a name that it has, or that a
    file needs which it needs. All of them would be more local names than Lua takes, 200."""
    words, found = _words(script), []
    for part in reversed(LIBRARY):
        text = _text(f"lib/{part}")
        defined = re.findall(r"^local (?:function )?([\w, ]+)", text, re.M)
        if part == "keys" or not words.isdisjoint(_words(" ".join(defined))):
            found.append(text)
            words |= _words(text)
    return found[::-1]


def _words(lua: str) -> set[str]:
    return set(re.findall(r"\w+", re.sub(r"--.*", "", lua)))


@cache
def _text(name: str) -> str:
    return (files("common.store") / "lua" / f"{name}.lua").read_text()


@cache
def arguments(name: str) -> dict[str, bool]:
    """The named arguments of a script, in the order in which they are sent, and whether each is a
    number."""
    block = re.search(r"--\[\[ arguments\n(.*?)\]\]", _text(name), re.S)
    lines = re.findall(r"^(\w+) +(number:)?", block[1], re.M) if block else []
    return {argument: bool(number) for argument, number in lines if argument != "rest"}


def _locals(named: dict[str, bool]) -> str:
    """Lua that names the arguments; `REST` is where the others begin in ARGV."""
    values = [
        f"tonumber(ARGV[{at}])" if is_number else f"ARGV[{at}]"
        for at, is_number in enumerate(named.values(), 1)
    ]
    return f"local {', '.join(named)} = {', '.join(values)}\nlocal REST = {len(named) + 1}"


# When one of these returns, what it wrote must be on disk and on the replicas.
PROMISES = {
    *("attach", "append", "begin_sweep", "exchange", "keep_file", "create_batch"),
    "submit_derived",
    *("cancel", "cancel_batch", "describe", "edit", "delete", "forget_files"),
    *("keep_preset", "forget_preset"),
    *("create_evaluation", "end_evaluation"),
    *("create_key", "revoke_key", "end_sessions", "end_link"),
    *("create_study", "delete_study", "add_rater", "revoke_rater", "keep_vote", "undo_vote"),
}
LIMIT = 5000  # ms a promise may wait for the disk, and for the replicas


class Call(NamedTuple):
    """A script to run, with its arguments as `Scripts` takes them."""

    name: str
    rest: tuple[Any, ...]
    named: dict[str, Any]


class Scripts:
    """The scripts bound to one client: `scripts.cancel(id=job_id)` runs `lua/cancel.lua`.

    Under `appendfsync always` an answer means that the write is on disk. Under `everysec` the
    scripts that promise something are followed by WAITAOF, and where the client has replicas by
    WAIT, in one pipeline: these vouch for what their own connection wrote last. A server that syncs
    when it likes (`no`) cannot be waited for.
    """

    def __init__(self, client: redis.Redis):
        self._client = client
        self._replicas = getattr(client, "replicas", 0)
        self._bound = {name: client.register_script(source(name)) for name in NAMES}
        self._arguments = {name: tuple(arguments(name)) for name in NAMES}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        script = self._bound[name]

        def call(*rest: Any, **named: Any) -> Any:
            args = self._sent(Call(name, rest, named))
            if name in PROMISES and (self._replicas or self._waits_for_disk):
                pipe = self._client.pipeline(transaction=False)
                script(keys=(), args=args, client=pipe)
                return self._execute_and_wait(pipe)[0]
            return script(keys=(), args=args)

        return call

    def together(self, calls: Sequence[Call]) -> list[Any]:
        """Run scripts one after the other, with nothing between them: all are run, or none. Durable
        when it returns."""
        try:
            return self._together(calls)
        except redis.exceptions.NoScriptError:
            # The server was started again after it was asked for the scripts; now they are loaded.
            return self._together(calls)

    def _together(self, calls: Sequence[Call]) -> list[Any]:
        # Not redis-py's own transaction: what follows it has to be sent on the same connection.
        pipe = self._client.pipeline(transaction=False)
        pipe.execute_command("MULTI")
        for each in calls:
            self._bound[each.name](keys=(), args=self._sent(each), client=pipe)
        pipe.execute_command("EXEC")
        waits = self._replicas or self._waits_for_disk
        answers: list[Any] = (self._execute_and_wait(pipe) if waits else pipe.execute())[-1]
        if wrong := next((each for each in answers if isinstance(each, Exception)), None):
            raise wrong
        return answers

    def _sent(self, call: Call) -> tuple[Any, ...]:
        """Its arguments in the order in which they are sent."""
        names = self._arguments[call.name]
        if len(call.named) != len(names):
            raise TypeError(f"{call.name} takes {', '.join(names)}")
        return (*(call.named[each] for each in names), *call.rest)

    @cached_property
    def _waits_for_disk(self) -> bool:
        if not self._client.info("persistence").get("aof_enabled"):
            return False
        try:
            return self._client.config_get("appendfsync").get("appendfsync") == "everysec"
        except redis.ResponseError:  # a hosted server that keeps its settings to itself
            return True

    def _execute_and_wait(self, pipe: Pipeline) -> list[Any]:
        """What the pipeline answers, once it is where a promise has to be."""
        asked = len(pipe)
        # A script that is sent again finds its work done and writes nothing; this makes the waits
        # count all the same.
        pipe.publish(keys.FENCE, "")
        if self._replicas:
            pipe.execute_command("WAIT", self._replicas, LIMIT)
        if self._waits_for_disk:
            pipe.execute_command("WAITAOF", 1, 0, LIMIT)
        answers = pipe.execute()
        waited = answers[asked + 1 :]
        if self._replicas and waited[0] < self._replicas:
            raise redis.TimeoutError(
                f"{waited[0]} of {self._replicas} replicas took it within {LIMIT / 1000:.0f} s"
            )
        if self._waits_for_disk and not waited[-1][0]:
            raise redis.TimeoutError(
                f"the server did not write to disk within {LIMIT / 1000:.0f} s"
            )
        return answers[:asked]
