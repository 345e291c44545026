"""The generation worker's Celery app: `celery -A worker.app worker`, one process per GPU.

Pool, concurrency and queue are set here. Of the two threads one runs the turn, the other takes the
rings that come in the meantime.
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
    """Run a turn. A ring names its model, but a worker serves only one."""
    app.model_server.turn()
