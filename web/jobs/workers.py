"""What tenants may see of workers, and operators do with them."""

from __future__ import annotations

from common.errors import PromptmillError
from web.schemas.answers import WorkerView
from web.services.rings import ring_workers
from web.services.services import Services


class NotAllowed(PromptmillError):
    """Only operators may do this: workers are shared by all tenants."""

    status = 403
    code = "not_allowed"


def is_operator(services: Services, tenant: str) -> bool:
    """Whether `PROMPTMILL_OPERATORS` names this tenant."""
    return tenant in {name.strip() for name in services.settings.operators.split(",")}


def worker_views(services: Services) -> list[WorkerView]:
    """Live workers."""
    return [
        WorkerView.model_validate(worker, from_attributes=True)
        for worker in services.fleet.workers()
    ]


def drain_worker(services: Services, tenant: str, worker_id: str, drained: bool) -> WorkerView:
    """Have a worker take no more items, or take them again; what it runs goes on to its end.

    Raises:
        NotAllowed: the tenant is no operator.
        NotFound: no live worker has this id.
    """
    if not is_operator(services, tenant):
        raise NotAllowed(
            "workers are shared by all tenants, and only those that PROMPTMILL_OPERATORS of the "
            "web tier names may drain them"
        )
    rings = services.fleet.drain(worker_id, drained)
    found = next(view for view in worker_views(services) if view.id == worker_id)
    ring_workers(services, found.model, rings, "")
    return found
