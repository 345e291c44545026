"""What the store keeps of a job beside its items, with defaults for what does not matter."""

from __future__ import annotations

import json
from typing import Any

DAY = 86_400_000  # ms


def job_fields(
    model: str, digest: str, total: int, spec: dict[str, Any], /, **fields: Any
) -> dict[str, Any]:
    """The fields of `JobStore.attach`; `spec` is kept as JSON, with the model in it. Named fields
    replace any of them."""
    return {
        "tenant": "t",
        "model": model,
        "digest": digest,
        "total": total,
        "cost": 10,
        "n_max": 1,
        "priority": 0,
        "hooks": "",
        "retention": DAY,
        "spec": json.dumps({"model": model, **spec}),
        **fields,
    }
