"""What `promptmill compare` prints where jobs have no metric in common."""

from __future__ import annotations

from cli.compare import lines


def test_without_a_metric_in_common_it_says_which_evaluations_counted() -> None:
    job = {"id": "job_1", "name": None, "model": "m", "run_s": None, "tokens": None}
    matched = {"rows": 3, "by": "position", "reason": None, "succeeded": 3, "changed": 1}
    found = {
        "jobs": [job | {"evaluation": "eval_1"}, job | {"id": "job_2", "evaluation": "eval_2"}],
        "matched": matched | {"unlike_references": 0},
        "metrics": [],
        "left_out": [{"metric": "chrf", "reason": "not_in_all"}],
        "settings": [],
        "links": {"page": "http://box/compare"},
    }
    said = "\n".join(lines(found))
    assert "no metric in common: of each job the newest evaluation counts (eval_1, eval_2)" in said
    assert "left out: chrf" in said and "better/same/worse" not in said
