"""Studies in the store: tasks go to raters under leases, each often enough and never too often."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from common.errors import Conflict, NotFound, StorageFull
from common.store import raters as module
from common.store import studies as studies_module
from common.store.admission import Admission
from common.store.raters import Given, RaterGrant, Raters
from common.store.studies import Studies, Task
from evals.sides import swapped
from tests.support.store import Mill
from tests.support.studies import made_study, person

LEFT = {"fluency": "left"}


@pytest.fixture
def studies(mill: Mill) -> Studies:
    return Studies(mill.client)


@pytest.fixture
def raters(mill: Mill) -> Raters:
    return Raters(mill.client)


def rate_all(raters: Raters, grant: RaterGrant) -> list[Given]:
    """Everything that there is for a rater, in their order."""
    seen = []
    while (given := raters.next_task(grant)).task:
        raters.vote(grant, given.number, LEFT)
        seen.append(given)
    return seen


def counted(studies: Studies, study_id: str) -> Counter[int]:
    return Counter(vote.number for some in studies.votes(study_id) for vote in some)


def test_a_rater_rates_each_task_once_and_successive_tasks_show_opposite_sides(
    mill: Mill, raters: Raters, studies: Studies
) -> None:
    study = made_study(mill.client, rows=7)
    grant = person(mill.client, study, first=True)
    seen = rate_all(raters, grant)
    assert sorted(each.number for each in seen) == [f"{task:05d}" for task in range(7)]
    sides = [each.task.left for each in seen if each.task]
    assert sides == [1, 0, 1, 0, 1, 0, 1]
    assert [each.done for each in seen] == list(range(7))
    assert {each.total for each in seen} == {7}
    assert studies.get(study, "t").ratings == 7


def test_sides_are_those_of_the_statistics(mill: Mill, raters: Raters) -> None:
    study = made_study(mill.client, rows=5)
    for name in "abcd":
        first = swapped(study, name, 0)
        seen = rate_all(raters, person(mill.client, study, name, first))
        shown = [bool(each.task.left) for each in seen if each.task]
        assert shown == [swapped(study, name, place) for place in range(len(seen))]


def test_a_task_stays_until_it_is_rated(mill: Mill, raters: Raters) -> None:
    grant = person(mill.client, made_study(mill.client))
    assert raters.next_task(grant) == raters.next_task(grant)


def test_tasks_with_the_fewest_ratings_come_first(mill: Mill, raters: Raters) -> None:
    study = made_study(mill.client, rows=4)
    one, other = person(mill.client, study), person(mill.client, study)
    first = raters.next_task(one).number
    raters.vote(one, first, LEFT)
    assert raters.next_task(other).number != first
    held = raters.next_task(other).number
    assert raters.next_task(one).number not in (first, held)


def test_many_raters_at_once_never_give_a_task_more_ratings_than_wanted(
    mill: Mill, raters: Raters, studies: Studies
) -> None:
    study = made_study(mill.client, rows=20, wanted=2)
    grants = [person(mill.client, study, str(number)) for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda grant: rate_all(raters, grant), grants))
    assert set(counted(studies, study).values()) == {2}
    assert sum(map(len, done)) == studies.get(study, "t").ratings == 40


def test_a_lease_that_ran_out_goes_to_others_and_a_late_rating_is_kept_where_there_is_room(
    mill: Mill, raters: Raters, studies: Studies, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = made_study(mill.client, rows=1, wanted=1)
    slow, quick = person(mill.client, study, "slow"), person(mill.client, study, "quick")
    monkeypatch.setattr(module, "LEASE", 0.02)
    number = raters.next_task(slow).number
    assert raters.next_task(quick).task is None
    time.sleep(0.03)
    monkeypatch.undo()
    assert raters.next_task(quick).number == number
    with pytest.raises(Conflict) as refused:
        raters.vote(slow, number, LEFT)
    assert refused.value.code == "task_taken"
    raters.revoke(study, "t", quick.rater)
    raters.vote(slow, number, LEFT)
    assert counted(studies, study) == {0: 1}
    assert raters.next_task(slow).task is None


def test_a_task_that_was_never_given_cannot_be_rated(mill: Mill, raters: Raters) -> None:
    study = made_study(mill.client)
    grant = person(mill.client, study)
    given = raters.next_task(grant).number
    others = [f"{task:05d}" for task in range(3) if f"{task:05d}" != given]
    for number in (*others, "00003", "99999", "0", "x", "0000\n"):
        with pytest.raises(NotFound):
            raters.vote(grant, number, LEFT)


def test_a_rating_that_is_given_anew_takes_the_place_of_the_first(
    mill: Mill, raters: Raters, studies: Studies
) -> None:
    study = made_study(mill.client)
    grant = person(mill.client, study)
    number = raters.next_task(grant).number
    raters.vote(grant, number, LEFT)
    before = studies.get(study, "t").changes
    raters.vote(grant, number, {"fluency": "tie"})
    ((vote,),) = studies.votes(study)
    assert (vote.answers, vote.rater) == ({"fluency": "tie"}, grant.rater)
    after = studies.get(study, "t")
    assert (after.ratings, after.changes) == (1, before + 1)


def test_undo_gives_the_last_task_again_with_the_same_sides(
    mill: Mill, raters: Raters, studies: Studies
) -> None:
    study = made_study(mill.client, rows=4, wanted=1)
    grant = person(mill.client, study)
    shown = []
    for _ in range(2):
        shown.append(raters.next_task(grant))
        raters.vote(grant, shown[-1].number, LEFT)
    raters.next_task(grant)
    raters.undo(grant)
    assert raters.next_task(grant) == shown[1]
    raters.undo(grant)
    again = raters.next_task(grant)
    assert (again.number, again.task) == (shown[0].number, shown[0].task)
    with pytest.raises(Conflict):
        raters.undo(grant)
    assert studies.get(study, "t").ratings == 0
    # Everything is free for others, but for what this rater has in front of them.
    assert len(rate_all(raters, person(mill.client, study))) == 3


def test_an_undo_that_is_sent_again_takes_back_one_rating(mill: Mill, raters: Raters) -> None:
    study = made_study(mill.client)
    grant = person(mill.client, study)
    for _ in range(2):
        raters.vote(grant, raters.next_task(grant).number, LEFT)
    call = {"id": study, "rater": grant.rater, "life": 1000, "call": "c"}
    assert [raters._scripts.undo_vote(**call) for _ in range(2)] == [b"undone", b"undone"]
    assert raters.next_task(grant).done == 1


def test_a_revoked_link_opens_nothing_and_its_task_goes_to_others(
    mill: Mill, raters: Raters, studies: Studies
) -> None:
    study = made_study(mill.client, rows=2, wanted=1)
    secret = raters.add(study, "t", "rater_x", "Ada", False)
    grant = raters.grant_of_secret(secret)
    assert grant
    raters.vote(grant, raters.next_task(grant).number, LEFT)
    raters.next_task(grant)
    for _ in range(2):
        raters.revoke(study, "t", "rater_x")
    assert raters.grant_of_secret(secret) is None
    for move in (
        lambda: raters.next_task(grant),
        lambda: raters.vote(grant, "00000", LEFT),
        lambda: raters.undo(grant),
    ):
        with pytest.raises(NotFound):
            move()
    (rater,) = raters.of(study)
    assert (rater.done, rater.revoked_at is None) == (1, False)
    assert len(rate_all(raters, person(mill.client, study))) == 1


def test_another_tenants_study_is_not_there(mill: Mill, raters: Raters, studies: Studies) -> None:
    study = made_study(mill.client)
    person(mill.client, study)
    (rater,) = raters.of(study)
    for move in (
        lambda: studies.get(study, "other"),
        lambda: studies.delete(study, "other"),
        lambda: raters.add(study, "other", "rater_x", "Eve", False),
        lambda: raters.revoke(study, "other", rater.id),
    ):
        with pytest.raises(NotFound):
            move()
    assert list(studies.walk("other")) == []
    assert [each.id for each in studies.walk("t")] == [study]


def test_deleting_a_study_leaves_nothing(
    mill: Mill, raters: Raters, studies: Studies, key_snapshot: Callable[[], set[str]]
) -> None:
    before = key_snapshot()
    study = made_study(mill.client)
    grants = [person(mill.client, study, name) for name in "ab"]
    rate_all(raters, grants[0])
    studies.keep_results(studies.get(study, "t"), {})
    assert Admission(mill.client).stored("t") > 0
    studies.delete(study, "t")
    assert key_snapshot() == before
    with pytest.raises(NotFound):
        raters.next_task(grants[1])


def test_limits_refuse_a_study_before_it_is_made(
    mill: Mill, studies: Studies, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StorageFull):
        made_study(mill.client, most_stored=10)
    monkeypatch.setattr(studies_module, "MOST_STUDIES", 1)
    made_study(mill.client)
    with pytest.raises(Conflict) as refused:
        made_study(mill.client)
    assert refused.value.code == "too_many_studies"


def test_rows_come_back_as_they_were(mill: Mill, studies: Studies) -> None:
    study = made_study(mill.client, rows=2)
    rows = studies.rows(study, [1])
    assert (rows[1].prompt, [*rows[1].texts], [*rows[1].indices]) == (
        "prompt 1",
        ["a1", "b1"],
        [1, 1],
    )
    assert studies.tasks(study) == [Task(0, 0, 1), Task(1, 0, 1)]


def test_results_are_kept_until_something_changes(
    mill: Mill, raters: Raters, studies: Studies
) -> None:
    study = made_study(mill.client)
    grant = person(mill.client, study)
    studies.keep_results(studies.get(study, "t"), {"fluency": 1})
    assert studies.kept_results(studies.get(study, "t")) == {"fluency": 1}
    raters.vote(grant, raters.next_task(grant).number, LEFT)
    assert studies.kept_results(studies.get(study, "t")) is None
