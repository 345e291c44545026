"""The worker as deployed, with the echo engine and a chat template that can be told not to think,
as Qwen3's can.

`celery -A tests.field.templated worker`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import worker.bootsteps
from worker.app import app
from worker.models import OpenedModel, open_model

__all__ = ["app"]

TEMPLATE = """
{%- for message in messages %}{{ message.content }} {% endfor %}
{%- generation %}assistant{% endgeneration %}
{%- if messages[0].content == 'break' %}{{ 'x' + messages[0].get('name') }}{% endif %}
{%- if messages[0].content == 'endless' %}
    {%- for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}
{%- endif %}
{%- if enable_thinking is not defined or enable_thinking %} <think>{% endif %}"""


def open_templated(*args: Any, **options: Any) -> OpenedModel:
    opened = open_model(*args, **options)
    return replace(
        opened,
        card=opened.card.model_copy(update={"digest": "templated", "chat_template": TEMPLATE}),
    )


vars(worker.bootsteps)["open_model"] = open_templated
