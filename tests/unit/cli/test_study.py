"""What `promptmill study results` prints."""

from __future__ import annotations

from typing import Any

from cli.study import lines


def study(kind: str, jobs: list[dict[str, Any]], **agreement: Any) -> dict[str, Any]:
    votes = {"votes": 3, "skips": 1, "jobs": jobs, "agreement": {"alpha": None, **agreement}}
    return {
        "kind": kind,
        "progress": {"done": 4, "total": 8},
        "people": [
            {"name": "Ada", "done": 4, "revoked_at": None},
            {"name": "Grace", "done": 0, "revoked_at": "2026-01-01T00:00:00Z"},
        ],
        "jobs": [{"id": "job_1", "name": "warm"}, {"id": "job_2", "name": None}],
        "results": {"fluency": votes},
    }


def test_pairs_have_wins_and_strengths() -> None:
    won = {"job": "job_1", "wins": 2, "ties": 1, "losses": 0, "win_rate": 0.8333}
    none = {"job": "job_2", "wins": 0, "ties": 0, "losses": 0, "win_rate": None}
    jobs = [
        won | {"strength": 1.234, "low": 0.1, "high": 2.0},
        none | {"strength": 0.0, "low": None, "high": None},
    ]
    assert list(lines(study("pairs", jobs, alpha=0.5))) == [
        "pairs: 4 of 8 ratings",
        "  Ada: 4",
        "  Grace: 0, link ended",
        "",
        "fluency: 3 votes, 1 skipped; agreement 0.50 (Krippendorff's alpha)",
        "job         wins  ties  losses  win rate  strength        low–high",
        "job_1 warm     2     1       0       83%     +1.23  +0.10 to +2.00",
        "job_2          0     0       0         –         –               –",
    ]


def test_scales_have_means_and_why_agreement_is_not_known() -> None:
    rated = {"job": "job_1", "votes": 3, "mean": 4.3333, "counts": [0, 0, 1, 0, 2]}
    said = list(lines(study("scale", [rated | {"low": None, "high": None}], reason="no_pairs")))
    assert said[4] == "fluency: 3 votes, 1 skipped; agreement not known: no task has two ratings"
    assert said[-1].split() == ["job_1", "warm", "3", "4.33", "–", "0", "0", "1", "0", "2"]
