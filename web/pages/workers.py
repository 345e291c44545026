"""The page of live workers and known models."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from flask import redirect, render_template, url_for

from common.store.history import Minute, last_hour
from web.jobs.views import model_list
from web.jobs.workers import drain_worker, is_operator, worker_views
from web.pages.blueprint import logged_in, pages
from web.pages.charts import Chart, chart
from web.schemas.answers import ModelView
from web.services.services import services
from web.services.worker_hint import worker_hint


@pages.get("/workers")
@logged_in
def workers(tenant: str) -> str:
    return render_template(
        "workers.html",
        tenant=tenant,
        workers=worker_views(services()),
        models=known_models(),
        worker_hint=worker_hint(services()),
        charts=hour_charts(last_hour(services().redis)),
        may_drain=is_operator(services(), tenant),
    )


@pages.post("/workers/<worker_id>/<any(drain, resume):way>")
@logged_in
def change_worker(tenant: str, worker_id: str, way: str) -> Any:
    drain_worker(services(), tenant, worker_id, way == "drain")
    return redirect(url_for("pages.workers"), 303)


def hour_charts(minutes: Sequence[Minute]) -> list[Chart]:
    """The last hour as charts; none where nothing was noted yet. Pure."""
    if not minutes:
        return []
    times = [datetime.fromtimestamp(each.at, UTC).strftime("%H:%M") for each in minutes]
    speeds = [sum((each.tokens or {}).values()) / 60 for each in minutes]
    waiting = [each.waiting or 0 for each in minutes]
    return [
        chart("speed", "Tokens a second, all models", ("Minute (UTC)", "Tokens/s"), times, speeds),
        chart("waiting", "Items that wait", ("Minute (UTC)", "Items"), times, waiting),
    ]


def known_models() -> list[ModelView]:
    """Every model that was ever served, without aliases; those with a live worker first, and of
    these the echo engine, which is for tests, last."""
    models = [model for model in model_list(services()).data if model.alias_of is None]
    return sorted(models, key=lambda model: (not model.workers, model.card.engine == "echo"))
