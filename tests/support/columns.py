"""Jobs whose items have columns, put into the store as an upload of a table leaves them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from bench.lib.jobs import job_fields
from common.store.job_prep import JobPrep
from common.store.jobs import new_job_id
from common.stored_item import SideItem
from tests.support.web import Web


def table_job(
    web: Web,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    used: Sequence[str] = (),
    origins: Sequence[list[Any]] = (),
    retry_of: str | None = None,
    **prep: Any,
) -> str:
    """The id of a job of a row each; its template names the columns that are `used`. As a retry its
    items come from `origins`."""
    stage = web.services.store.stage()
    for place, cells in enumerate(rows):
        values = {
            name: cell for name, cell in zip(columns, cells, strict=True) if cell is not ABSENT
        }
        named = {name: values.pop(name) for name in used if name in values}
        side: SideItem = {"vars": values}
        if origins:
            side["origin"] = origins[place]
        stage.add({"vars": named} if named else {"prompt": "p"}, side)
    found: JobPrep = {"columns": list(columns)}
    if used:
        found["template"] = {"prompt": " ".join(f"{{{{{name}}}}}" for name in used)}
    stage.prep = cast("JobPrep", {**found, **prep})
    stage.close_for_attach()
    job_id = new_job_id()
    spec: dict[str, Any] = {"params": {}, "webhook": None, "metadata": {}, "limits": {}}
    fields = job_fields(web.card.id, web.card.digest, stage.total, spec, tenant="acme")
    fields |= {"retry_of": retry_of} if retry_of else {}
    assert web.services.store.attach(stage, fields, job_id=job_id).outcome == "new"
    return job_id


ABSENT = object()  # a cell that an item does not have
