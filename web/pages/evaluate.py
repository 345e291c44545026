"""The form that starts an evaluation of a job: metrics, references, and the rules of a gate. It
works without scripts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask import Response, make_response, redirect, render_template, request, url_for

from common.errors import Conflict, ErrorDict, InvalidRequest, NotFound, StorageFull
from common.types import JsonObject
from evals.bleu_words import TOKENIZERS
from evals.registry import DEFAULT, METRICS
from web.intake.references import ReferenceFile
from web.intake.validation_messages import validated
from web.jobs.evaluations import start
from web.jobs.views import job_view
from web.pages.blueprint import logged_in, pages
from web.pages.form_token import key_of, new_token, once
from web.pages.metric_fields import METRIC, metric_groups, read_metrics, typed_metrics
from web.schemas.answers import JobView
from web.schemas.evaluations import MOST_RULES, EvaluationOptions
from web.services.services import services

RULES = 2  # that the form offers; a button adds more
RULE_PARTS = ("metric", "kind", "limit", "baseline")
KINDS = {"min": "at least", "max": "at most", "max_drop": "worse than the baseline by at most"}
_GATE = re.compile(r"gate\.(\d+)(?:\.\w+)?")


@dataclass
class Typed:
    """What was typed. `errors` are messages by the part of the form that they stand at: `metrics`,
    `file`, `rule.N`, or empty for all of it."""

    boxes: Mapping[str, str]  # of metrics, by input name
    rules: list[dict[str, str]] = field(default_factory=list)
    errors: dict[str, list[str]] = field(default_factory=dict)

    def options(self) -> JsonObject:
        """The request that this is; rules without a limit are left out."""
        return {
            "metrics": read_metrics(self.boxes),
            "gate": [_rule(self.rules[at]) for at in self.filled],
        }

    @property
    def filled(self) -> list[int]:
        """The places of the rules that say something."""
        return [at for at, rule in enumerate(self.rules) if rule["limit"] or rule["baseline"]]

    def note(self, errors: Sequence[ErrorDict]) -> None:
        """Put each message at its part of the form."""
        for error in errors:
            name, message = error.get("field") or "", error["message"]
            if "line" in error:
                name, message = "file", f"line {error['line']}: {message}"
            elif found := _GATE.match(name):
                message = message.replace(f"gate.{found[1]}.", "")
                name = f"rule.{self.filled[int(found[1])]}"
            elif name.startswith("metrics"):
                name = "metrics"
            elif name != "file":
                name = ""
            self.errors.setdefault(name, []).append(message)


def _rule(typed: Mapping[str, str]) -> JsonObject:
    try:
        limit: float | str = float(typed["limit"])
    except ValueError:
        limit = typed["limit"]
    kind = typed["kind"] if typed["kind"] in KINDS else "min"
    rule: JsonObject = {"metric": typed["metric"], kind: limit}
    return rule | ({"baseline": typed["baseline"]} if typed["baseline"] else {})


@pages.get("/jobs/<job_id>/evaluate")
@logged_in
def evaluate(tenant: str, job_id: str) -> Any:
    job = job_view(services(), job_id, tenant)
    if not job.status.terminal:
        return redirect(url_for("pages.job", job_id=job_id), 303)
    return _form(tenant, job, Typed(typed_metrics(job.metrics or DEFAULT), rules=_rules({})))


@pages.post("/jobs/<job_id>/evaluate")
@logged_in
def start_evaluation(tenant: str, job_id: str) -> Any:
    """Starts it, shows what is wrong with it, or, by another button, the form with more rules."""
    job = job_view(services(), job_id, tenant)
    typed = Typed(
        {name: text for name, text in request.form.items() if name.startswith(METRIC)},
        _rules(request.form),
    )
    if request.form.get("action") == "rule":
        typed.rules = [*typed.rules, *_rules({})][:MOST_RULES]
        return _form(tenant, job, typed)
    if not read_metrics(typed.boxes) and not typed.filled:
        typed.errors["metrics"] = ["choose a metric, or a rule of a gate"]
        return _form(tenant, job, typed, 422)
    try:
        options = validated(EvaluationOptions, typed.options())
        once(
            key_of(request.form),
            lambda key: start(services(), tenant, job_id, options, _references(), key),
        )
    except InvalidRequest as error:
        typed.note(error.errors)
        return _form(tenant, job, typed, error.status)
    except (Conflict, NotFound, StorageFull) as error:
        typed.note([error.as_dict()])
        return _form(tenant, job, typed, error.status)
    return redirect(url_for("pages.job", job_id=job_id, _anchor="evaluation"), 303)


def _references() -> ReferenceFile | None:
    """The uploaded file, from its beginning; None without one."""
    upload = request.files.get("file")
    if upload is None or not upload.filename:
        return None
    upload.stream.seek(0)
    return ReferenceFile(upload.stream, upload.filename)


def _rules(form: Mapping[str, str]) -> list[dict[str, str]]:
    """The rules as they were typed; at least a few empty ones."""
    rules = []
    for at in range(MOST_RULES):
        if at >= RULES and f"rule.{at}.limit" not in form:
            break
        rules.append({part: form.get(f"rule.{at}.{part}", "")[:64].strip() for part in RULE_PARTS})
    return rules


def _form(tenant: str, job: JobView, typed: Typed, status: int = 200) -> Response:
    page = render_template(
        "evaluate.html",
        tenant=tenant,
        job=job,
        typed=typed,
        metrics=list(METRICS.values()),
        metric_groups=metric_groups(),
        tokenizers=list(TOKENIZERS),
        token=new_token(),
        kinds=KINDS,
        most_rules=MOST_RULES,
    )
    return make_response(page, status)
