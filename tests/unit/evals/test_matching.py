"""Which items of several jobs belong together."""

from __future__ import annotations

import numpy as np
import pytest

from evals.matching import Digests, match


def digests(*names: str) -> Digests:
    return np.array([name.encode() for name in names], "S16")


def test_items_of_one_custom_id_belong_together_whatever_their_order() -> None:
    found = match([digests("a", "b", "c", "d"), digests("d", "x", "a", "c")])
    assert (found.by, found.reason) == ("custom_id", None)
    assert found.rows.tolist() == [[0, 2], [2, 3], [3, 0]]


def test_only_what_all_jobs_have_is_matched() -> None:
    found = match([digests("a", "b", "c"), digests("b", "c"), digests("c", "a")])
    assert found.rows.tolist() == [[2, 1, 0]]


def test_no_item_in_common_is_no_row() -> None:
    assert match([digests("a"), digests("b")]).rows.shape == (0, 2)


@pytest.mark.parametrize(
    ("other", "reason"),
    [(("a", "", "c"), "no_custom_ids"), (("a", "a", "c"), "duplicate_custom_ids")],
)
def test_without_distinct_ids_position_counts_and_the_reason_is_told(
    other: tuple[str, ...], reason: str
) -> None:
    for jobs in ([digests("a", "b"), digests(*other)], [digests(*other), digests("a", "b")]):
        found = match(jobs)
        assert (found.by, found.reason) == ("position", reason)
        assert found.rows.tolist() == [[0, 0], [1, 1]]
        assert found.order.tolist() == [0, 1]


def test_a_job_without_items_has_none_in_common() -> None:
    assert len(match([digests("a"), digests()]).rows) == 0


def test_the_order_of_rows_does_not_depend_on_which_job_is_first() -> None:
    draw = np.random.default_rng(3)
    names = [f"id-{i}" for i in range(500)]
    one, other = digests(*draw.permutation(names)[:450]), digests(*draw.permutation(names)[:400])
    there, back = match([one, other]), match([other, one])
    assert there.rows[there.order].tolist() == back.rows[back.order][:, ::-1].tolist()
    assert (one[there.rows[:, 0]] == other[there.rows[:, 1]]).all()
