"""Writes the ratings of a study as files, a row for each task that somebody has rated."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from common.cooperate import Steps, give_way
from common.store.packing import json_line
from common.store.studies import Row, Study, Vote
from common.types import JsonObject
from web.jobs.result_table import harmless
from web.jobs.views import moment
from web.services.services import Services

MEDIA_TYPES = {
    "jsonl": "application/jsonl; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
}
ANSWER = "answer_"  # begins the names of the criteria's columns in a CSV file
ROWS = 64  # ratings whose texts are read at once


def stream_study(
    services: Services, study_id: str, tenant: str, form: str
) -> tuple[str, Iterator[bytes]]:
    """The name of the file, and its pieces. `NotFound` if the study is another tenant's."""
    study = services.studies.get(study_id, tenant)
    lines = _lines(services, study)
    pieces = _csv(study, lines) if form == "csv" else (b"".join(map(json_line, x)) for x in lines)
    return f"{study.id}.{form}", pieces


def _lines(services: Services, study: Study) -> Iterator[list[JsonObject]]:
    """All ratings, some at a time. A study that is deleted meanwhile breaks the file off."""
    names = {rater.id: rater.name for rater in services.raters.of(study.id)}
    for some in services.studies.votes(study.id):
        for first in range(0, len(some), ROWS):
            votes = some[first : first + ROWS]
            rows = services.studies.rows(study.id, sorted({vote.task.row for vote in votes}))
            yield [_line(study, vote, rows[vote.task.row], names) for vote in votes]
            give_way()
    services.studies.get(study.id, study.tenant)


def _line(study: Study, vote: Vote, row: Row, names: dict[str, str]) -> JsonObject:
    jobs, task = study.about.jobs, vote.task
    line: JsonObject = {
        "task": f"{vote.number:05d}",
        "custom_id": row.custom_id,
        "rater": vote.rater,
        "rater_name": names.get(vote.rater, ""),
        "rated_at": moment(vote.at).isoformat(),
        "prompt": row.prompt,
    }
    sides = {"left": task.left, "right": task.right}
    if study.about.kind == "scale":
        sides = {"rated": task.left}
    for side, place in sides.items():
        text = "text" if side == "rated" else side
        line |= {
            "job" if side == "rated" else f"{side}_job": jobs[place].id,
            "index" if side == "rated" else f"{side}_index": row.indices[place],
            text: row.texts[place],
        }
    return line | {"answers": dict(vote.answers)}


def _csv(study: Study, lines: Iterator[list[JsonObject]]) -> Iterator[bytes]:
    """The same, with a column for each criterion, whose prefix keeps it apart from the others. What
    a spreadsheet would take for a formula has an apostrophe before it."""
    page = io.StringIO(newline="")
    writer, criteria, steps = csv.writer(page), study.about.criteria, Steps()
    writer.writerow([*_columns(study), *(f"{ANSWER}{each}" for each in criteria)])
    for some in lines:
        for line in some:
            answers = line.pop("answers")
            writer.writerow([*_cells(line.values()), *_cells([answers[each] for each in criteria])])
            steps.step()
        yield page.getvalue().encode()
        page.seek(0)
        page.truncate()
    yield page.getvalue().encode()


def _columns(study: Study) -> Sequence[str]:
    first = ("task", "custom_id", "rater", "rater_name", "rated_at", "prompt")
    if study.about.kind == "scale":
        return (*first, "job", "index", "text")
    sides = ("left", "right")
    return (*first, *(name for side in sides for name in (f"{side}_job", f"{side}_index", side)))


def _cells(values: Any) -> list[Any]:
    return [harmless(each) if isinstance(each, str) else each for each in values]
