"""What is shown of items whose texts were scored."""

from __future__ import annotations

import csv
import io
import json

from tests.support.scored import CHOICE, CHOSEN, ITEM, SCORES, submit
from tests.support.web import Web


def test_rows_have_the_texts_with_their_scores(scoring: Web) -> None:
    job_id = submit(scoring, ITEM, {"prompt": "a", "params": CHOICE}, {"prompt": "b"})
    waiting = scoring.get(f"/v1/jobs/{job_id}/items").json["data"][0]
    assert waiting["continuations"] == [{"text": text} for text in ITEM["continuations"]]
    worker = scoring.worker(scoring.card)
    worker.hand_in({"continuations": SCORES}, {"outputs": [CHOSEN]}, {})
    expected = [
        {"text": text, **each} for text, each in zip(ITEM["continuations"], SCORES, strict=True)
    ]
    rows = scoring.get(f"/v1/jobs/{job_id}/items").json["data"]
    assert rows[0]["continuations"] == expected and rows[0]["outputs"] == []
    assert rows[1]["outputs"][0]["choices"] == CHOSEN["choices"]
    assert rows[2]["continuations"] is None
    lines = scoring.get(f"/v1/jobs/{job_id}/results.jsonl").text.splitlines()
    assert json.loads(lines[0])["continuations"] == expected
    assert "continuations" not in json.loads(lines[2])


def test_tables_have_columns_of_scores_where_the_job_has_some(scoring: Web) -> None:
    job_id = submit(scoring, ITEM, {"prompt": "a", "params": CHOICE})
    scoring.worker(scoring.card).hand_in({"continuations": SCORES}, {"outputs": [CHOSEN]})
    read = csv.DictReader(io.StringIO(scoring.get(f"/v1/jobs/{job_id}/results.csv").text))
    scored, chosen = read
    assert json.loads(scored["continuations"])[1] == {"text": "no way", **SCORES[1]}
    assert scored["choices"] == "" and chosen["continuations"] == ""
    assert json.loads(chosen["choices"]) == CHOSEN["choices"]
    plain = submit(scoring, {"prompt": "a"})
    header = scoring.get(f"/v1/jobs/{plain}/results.csv").text.splitlines()[0]
    assert "choices" not in header and "continuations" not in header


def test_every_answer_about_a_job_reads_scored_items(scoring: Web) -> None:
    job_id = submit(scoring, ITEM, {"prompt": "a", "params": CHOICE})
    scoring.worker(scoring.card).hand_in({"continuations": SCORES}, {"outputs": [CHOSEN]})
    for path in ("", "/items", "/summary", "/errors", "/events", "/results.csv?flatten=1"):
        answer = scoring.get(f"/v1/jobs/{job_id}{path}", buffered=True)
        assert answer.status_code == 200, answer.text
    read = scoring.get(f"/v1/jobs/{job_id}/events", buffered=True).text
    assert '"probability_per_token":0.5' in read.replace(" ", "")


def test_scores_that_do_not_belong_to_the_texts_are_a_damaged_record(scoring: Web) -> None:
    job_id = submit(scoring, ITEM)
    scoring.worker(scoring.card).hand_in({"continuations": SCORES[:2]})
    (row,) = scoring.get(f"/v1/jobs/{job_id}/items").json["data"]
    assert row["error"]["code"] == "unreadable_record"
