"""What the gallery has of structured output: drafts of the form, and jobs with results as a model
that can do all of it hands them in."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import redis

from common.store.fleet import Fleet
from common.store.form_drafts import FormDrafts
from tests.support.cards import card
from tests.support.lacking import lacking
from tests.support.web import Worker

ABLE = card(
    "able",
    engine="native",
    context=8192,
    features=("structured_output", "thinking", "continuations"),
    chat_template="{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
)
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "born": {"type": "integer"},
        "works": {"type": "array", "items": {"type": "string"}},
        "mood": {"enum": ["glad", "sad"]},
    },
    "required": ["name", "born"],
    "additionalProperties": False,
}
LABELS = ["positive", "negative", "neither", "both", "cannot be told from these few words"]
PAGES = {
    "submit-schema": "/?draft={schema}&step=check",
    "submit-bad-schema": "/?draft={bad-schema}&step=check",
    "submit-labels": "/?draft={labels}",
    "submit-lacking": "/?draft={lacking}",
    "job-json": "/jobs/{json}",
    "item-json": "/jobs/{json}/items/0",
    "item-bad-json": "/jobs/{json}/items/3",
    "item-calls": "/jobs/{called}/items/0",
}


def add_outputs(client: redis.Redis, tenant: str, submit: Callable[..., str]) -> dict[str, str]:
    """The ids of the drafts and jobs, by name; `submit` makes a job of these fields."""
    few = lacking("few")
    for model in (ABLE, few):
        Fleet(client).publish(model, b"")
    typed = {"model": few.id, "prompts": "Who wrote Faust?", "params.top_k": "5"}
    ids = {
        "lacking": FormDrafts(client).keep(tenant, typed).id,
        "schema": _draft(client, tenant, "json_schema", json.dumps(SCHEMA, indent=2)),
        "bad-schema": _draft(client, tenant, "json_schema", '{"type": "object", "required": ["n"'),
        "labels": _draft(client, tenant, "choice", "\n".join(LABELS)),
    }
    worker = Worker(client, ABLE)
    for name, (job, results) in _jobs().items():
        ids[name] = submit(model=ABLE.id, metadata={"name": f"Outputs: {name}"}, **job)
        worker.hand_in(*results)
    worker.incarnation.release()
    return ids


def _draft(client: redis.Redis, tenant: str, kind: str, text: str) -> str:
    """A draft of the form with this output format."""
    typed = {"model": ABLE.id, "prompts": "Who wrote Faust?", "params.output.kind": kind}
    typed |= {f"params.output.{kind}": text, "params.output.probabilities": "on"}
    return FormDrafts(client).keep(tenant, typed).id


def _jobs() -> dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The fields of each job, and the results of its items."""
    poets = [
        {"name": f"Poet {i}", "born": 1700 + i, "works": [f"Ode {n}" for n in range(i * 9)]}
        for i in range(3)
    ]
    valid = [{"outputs": [{"text": json.dumps(poet), "json_valid": True}]} for poet in poets]
    valid[0]["outputs"][0]["reasoning"] = "The user asks for a poet. I know one."
    cut = {"text": '{"name": "Johann Wolf', "json_valid": False, "finish_reason": "length"}
    call = {"id": "call_1", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    messages = [
        {"role": "user", "content": "How is the weather in Rome, and in Oslo?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "hot"},
    ]
    function = {"name": "weather", "description": "Tells the weather.", "parameters": SCHEMA}
    said = 'Rome is hot. <tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'
    return {
        "json": (
            {"prompts": ["A poet?"] * 4, "params": {"output": {"json_schema": SCHEMA}}},
            [*valid, {"outputs": [cut]}],
        ),
        "called": (
            {"items": [{"messages": messages, "tools": {"functions": [function]}}]},
            [{"outputs": [{"text": said}]}],
        ),
    }
