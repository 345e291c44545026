"""The page of live workers and known models."""

from __future__ import annotations

from flask import render_template

from web.jobs.views import model_list, worker_views
from web.pages.blueprint import logged_in, pages
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
    )


def known_models() -> list[ModelView]:
    """Every model that was ever served, without aliases; those with a live worker first, and of
    these the echo engine, which is for tests, last."""
    models = [model for model in model_list(services()).data if model.alias_of is None]
    return sorted(models, key=lambda model: (not model.workers, model.card.engine == "echo"))
