"""The generation worker: `celery -A worker.app worker`, one process per GPU. Pool, concurrency and
queue are set here.

Two threads: one for the turn, one for rings that come while it runs.
"""

from __future__ import annotations

from common.rings import GENERATE, celery_app, generate_queue
from common.settings import Settings
from worker.bootsteps import ServeStep

app = celery_app("promptmill.worker", Settings.load().redis_url)
app.settings = Settings.load()
app.conf.update(
    task_default_queue=generate_queue(app.settings.model_name),
    worker_pool="threads",
    worker_concurrency=2,
)
app.steps["worker"].add(ServeStep)


@app.task(name=GENERATE)
def generate(_model: str) -> None:
    """The turn: serves until nothing is left. The ring names its model, of which this worker serves
    no other."""
    app.runner.turn()
