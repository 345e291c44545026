"""What the columns of a new table are taken for until somebody chooses."""

from __future__ import annotations

from collections.abc import Iterator

from common.errors import InvalidRequest
from web.intake.drafts import Draft
from web.pages.preparation import suggested
from web.pages.submission import Submission
from web.pages.submit_page import is_large
from web.services.services import Services

LONGEST_ID = 256  # characters of a custom_id


def suggest(services: Services, tenant: str, file_id: str) -> dict[str, str]:
    """What would be typed for the columns of a stored file. Ids are taken from a column only where
    each row has one of its own, which is not looked for where that would take a while."""
    submission = Submission(services, tenant, {"input_file": file_id})
    typed = suggested(submission.table.names) if submission.table else {}
    if column := typed.pop("columns.custom_id", ""):
        # A template that needs no column, so that only the ids can be wrong.
        chosen = {"columns.custom_id": column, "template.text": "-", "reads": "text"}
        with_ids = Submission(services, tenant, {"input_file": file_id, **chosen})
        if not is_large(with_ids.source, with_ids.table) and _all_differ(with_ids):
            typed["columns.custom_id"] = column
    return typed


def _all_differ(submission: Submission) -> bool:
    if submission.errors or submission.options is None:
        return False
    seen: set[str] = set()
    try:
        for given in _ids(submission.drafts()):
            if not 0 < len(given) <= LONGEST_ID or given in seen:
                return False
            seen.add(given)
    except InvalidRequest:  # a row that cannot be read, which a check says
        return False
    return True


def _ids(drafts: Iterator[Draft]) -> Iterator[str]:
    for draft in drafts:
        value = draft.value if isinstance(draft.value, dict) else {}
        yield str(value.get("custom_id") or "")
