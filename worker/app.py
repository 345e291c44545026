"""The generation worker's Celery app: `celery -A worker.app worker`, one process per GPU.

Pool, concurrency and queues are set here. Of the two threads one runs the turn, the other takes the
rings that come in the meantime; a worker with adapters has threads of its own for its turns.
"""

from __future__ import annotations

from kombu.entity import Queue

from common.rings import GENERATE, celery_app, generate_queue
from common.settings import Settings
from worker.bootsteps import ServeStep

app = celery_app("promptmill.worker", Settings.load().redis_url)
app.settings = Settings.load()
app.conf.update(
    task_default_queue=generate_queue(app.settings.model_name),
    task_queues=[
        Queue(queue, routing_key=queue) for queue in map(generate_queue, app.settings.served_models)
    ],
    worker_pool="threads",
    worker_concurrency=2,
)
app.steps["worker"].add(ServeStep)


@app.task(name=GENERATE)
def generate(model: str) -> None:
    """Run a turn of the model that the ring names."""
    app.served.ring(model)
