"""A table whose rows are to be JSON, from the command line to the columns of its results; on a
model of random weights."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from cli.valkey import free_port
from tests.e2e.test_models import save_gpt2
from tests.support.up import Running, run

SCHEMA = {
    "type": "object",
    "properties": {
        "topic": {"enum": ["sport", "=weather"]},
        "urgent": {"type": "boolean"},
        "stars": {"type": "integer", "minimum": 1, "maximum": 5},
    },
    "required": ["topic", "urgent", "stars"],
    "additionalProperties": False,
}


def test_rows_parse_and_their_fields_are_columns(tmp_path: Path) -> None:
    model = save_gpt2(tmp_path / "tiny-gpt2")
    table, schema = tmp_path / "table.csv", tmp_path / "schema.json"
    table.write_text("id,text\na,upon\nb,once\nc,time\n")
    schema.write_text(json.dumps(SCHEMA))
    running = Running(
        *(tmp_path / "data", "--model", str(model), "--port", str(free_port())),
        PROMPTMILL_DTYPE="float32",
    )

    def said(*arguments: str | Path) -> str:
        done = run(*arguments, "--data", running.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    try:
        running.wait_until_ready()
        how = ("--template", "{{text}}", "--map", "custom_id=id", "--param", "max_tokens=200")
        job = said("submit", table, *how, "--json-schema", f"@{schema}")
        said("watch", job)
        flags = ("--format", "csv", "--flatten", "--no-guard")
        rows = list(csv.DictReader(io.StringIO(said("results", job, *flags))))
        labels = said("submit", table, *how, "--choice", "yes,no")
        said("watch", labels)
        answers = [json.loads(line) for line in said("results", labels).splitlines()]
    finally:
        running.stop()
    assert [row["id"] for row in rows] == ["a", "b", "c"]
    for row in rows:
        assert row["pm_json_valid"] == "true" and row["pm_finish_reason"] == "stop"
        found = json.loads(row["pm_text"])
        assert list(found) == ["topic", "urgent", "stars"]
        assert row["pm_output.topic"] == found["topic"]
        assert json.loads(row["pm_output.urgent"]) is found["urgent"]
        assert 1 <= int(row["pm_output.stars"]) == found["stars"] <= 5
    assert {answer["outputs"][0]["text"] for answer in answers} <= {"yes", "no"}
    assert all("json_valid" not in answer["outputs"][0] for answer in answers)
