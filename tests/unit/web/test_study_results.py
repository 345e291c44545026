"""What votes amount to, as numbers: the same whatever the sides and the order of the votes."""

from __future__ import annotations

import random
from collections.abc import Sequence

from common.store.studies import About, Kind, Study, StudyJob, Task, Vote
from web.jobs.study_results import computed

# Krippendorff (2011): four observers, twelve units; None where there is no rating.
OBSERVERS: Sequence[Sequence[int | None]] = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)


def study(kind: Kind, jobs: int, rows: int) -> Study:
    named = tuple(StudyJob(f"job_{place}", "", "m") for place in range(jobs))
    about = About(kind, named, ("fluency",), "position", rows, rows, 0)
    return Study("study_x", "t", about, rows, 2, 0, 0, 0)


def vote(number: int, rater: str, task: Task, answer: str | int) -> Vote:
    return Vote(number, rater, task, {"fluency": answer}, 0)


def turned(each: Vote) -> Vote:
    """The same said with the sides changed."""
    other = {"left": "right", "right": "left"}
    answer = each.answers["fluency"]
    task = Task(each.task.row, each.task.right, each.task.left)
    return vote(each.number, each.rater, task, other.get(str(answer), answer))


def test_results_do_not_depend_on_sides() -> None:
    dice = random.Random(1)
    votes = [
        vote(row, rater, Task(row, 0, 1), dice.choice(["left", "left", "right", "tie", "skip"]))
        for row in range(40)
        for rater in ("a", "b")
    ]
    found = computed(study("pairs", 2, 40), votes)["fluency"]
    assert computed(study("pairs", 2, 40), [*map(turned, votes)])["fluency"] == found
    assert found.jobs[0].low is not None and found.agreement.alpha is not None


def test_agreement_on_a_scale_is_that_of_krippendorffs_example() -> None:
    votes = [
        vote(unit, str(rater), Task(unit, 0, 0), value)
        for rater, values in enumerate(OBSERVERS)
        for unit, value in enumerate(values)
        if value is not None
    ]
    found = computed(study("scale", 1, 12), votes)["fluency"].agreement
    assert (found.level, round(found.alpha or 0, 3)) == ("ordinal", 0.815)


def test_a_clear_order_of_three_jobs_is_found() -> None:
    votes = [
        vote(3 * row + place, "a", Task(row, *pair), "left")
        for row in range(25)
        for place, pair in enumerate(((0, 1), (0, 2), (1, 2)))
    ]
    jobs = computed(study("pairs", 3, 25), votes)["fluency"].jobs
    strengths = [job.strength for job in jobs if hasattr(job, "strength")]
    assert strengths == sorted(strengths, reverse=True)
    assert abs(sum(strengths)) < 1e-9 and len(strengths) == 3
