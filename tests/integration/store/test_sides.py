"""What is kept beside a job's items: it moves with them, no worker reads it, and it counts as
stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bench.lib.jobs import job_fields
from common.errors import InvalidRequest
from common.store import keys
from common.store.job_prep import MOST_COLUMNS, JobPrep
from common.store.jobs import new_job_id
from common.store.packing import expand
from common.store.upload_stage import CHUNK, CHUNK_BYTES, Stage
from common.stored_item import SideItem
from tests.support.store import Mill

PREP: JobPrep = {
    "template": {"prompt": "{{text}}"},
    "clean": [],
    "truncate": {"to": 512, "keep": "end"},
    "columns": ["id", "text", ""],
    "types": {"id": "int64"},
    "mapped": {"custom_id": "id"},
}


def rows(count: int, first: int = 0) -> list[SideItem]:
    """Rows of a table with gaps; every third has nothing."""
    found: list[SideItem] = []
    for i in range(first, first + count):
        row: dict[str, Any] = {"id": f"00{i}", "": None, "other": {"n": [i, 0.5]}}
        if i % 3 == 1:
            row[f"only {i}"] = "x"
        side: SideItem = {"vars": row}
        if i % 5 == 0:
            side["reference"] = ["a", f"b{i}"]
        if i == 4:
            side |= {"origin": ["job_0a", 7], "default_max_tokens": 256}
        found.append(side if i % 3 else {})
    return found


def staged(mill: Mill, sides: list[SideItem], prep: JobPrep | None = None) -> Stage:
    stage = mill.store.stage()
    for i, side in enumerate(sides):
        stage.add({"prompt": f"prompt {i}"}, side)
    stage.prep = prep
    stage.close_for_attach()
    return stage


def submit(mill: Mill, sides: list[SideItem], prep: JobPrep | None = None) -> str:
    stage = staged(mill, sides, prep)
    job_id = new_job_id()
    fields = job_fields("m", "d", stage.total, {"params": {}})
    assert mill.store.attach(stage, fields, job_id=job_id).outcome == "new"
    return job_id


def append(mill: Mill, job_id: str, stage: Stage) -> None:
    mill.store.append(job_id, stage, tokens=1, n_max=1, most_items=10_000)


@pytest.mark.parametrize("count", [1, 7, CHUNK, CHUNK + 1, 5 * CHUNK + 3])
def test_sides_come_back_as_they_were_given(mill: Mill, count: int) -> None:
    given = rows(count)
    job_id = submit(mill, given, PREP)
    assert mill.store.side(job_id, 0, count + 9) == given
    first = max(0, count - 5)
    assert mill.store.side(job_id, first, 3) == given[first : first + 3]
    assert mill.store.side(job_id, count, 5) == []
    assert mill.store.prep(job_id) == PREP


def test_a_job_without_sides_has_no_such_keys_and_is_sent_in_one_call(mill: Mill) -> None:
    stage = staged(mill, [{}, {}])
    assert stage.whole
    assert mill.client.keys("pm:stage:*") == []
    job_id = new_job_id()
    mill.store.attach(stage, job_fields("m", "d", 2, {"params": {}}), job_id=job_id)
    assert mill.store.side(job_id, 0, 5) == [{}, {}]
    assert mill.store.prep(job_id) == {}
    assert not mill.client.exists(keys.job(job_id, "side"), keys.job(job_id, "prep"))


def test_a_small_job_with_sides_is_sent_in_one_call_too(mill: Mill) -> None:
    stage = staged(mill, rows(3), PREP)
    assert mill.client.keys("pm:stage:*") == []
    assert stage.whole
    assert stage.whole_side


def test_a_chunk_ends_at_so_many_bytes_of_items_or_of_sides(mill: Mill) -> None:
    half = "x" * (CHUNK_BYTES // 2)
    sizes = (half, half, half, 3 * half, "", "")
    large: list[SideItem] = [{"vars": {"a": text}} if text else {} for text in sizes]
    job_id = submit(mill, large)
    assert mill.client.hlen(keys.job(job_id, "in")) == 5
    assert mill.store.side(job_id, 0, 9) == large
    stage = mill.store.stage()
    for _ in range(4):
        stage.add({"prompt": "p" * (CHUNK_BYTES // 3)})
    stage.close()
    starts = mill.client.zrange(keys.stage(stage.id, "starts"), 0, -1)
    assert starts == [b"0", b"2"]


def test_a_column_is_named_once_a_chunk(mill: Mill) -> None:
    job_id = submit(mill, [{"vars": {"a long name": i}} for i in range(CHUNK)])
    stored = mill.client.hget(keys.job(job_id, "side"), "0")
    assert expand(stored).count(b"a long name") == 1


def test_workers_read_how_prompts_are_made_and_no_side(mill: Mill) -> None:
    job_id = submit(mill, rows(3), PREP)
    mill.client.set(keys.job(job_id, "side"), "not to be read")
    chunk = mill.store.chunk(job_id, 0)
    assert chunk.head.prep == {name: PREP[name] for name in ("template", "clean", "truncate")}
    assert [item["prompt"] for item in chunk.items] == ["prompt 0", "prompt 1", "prompt 2"]
    assert mill.store.chunk(mill.submit(1), 0).head.prep == {}


def test_appended_items_bring_their_sides_and_new_columns(mill: Mill) -> None:
    job_id = submit(mill, rows(CHUNK + 2), PREP)
    more = rows(CHUNK + 1, first=1000)
    append(mill, job_id, staged(mill, more, {"columns": ["text", "größe\n", "a/b"]}))
    append(mill, job_id, staged(mill, [{}]))
    assert mill.store.side(job_id, CHUNK, CHUNK + 9) == [*rows(2, CHUNK), *more, {}]
    assert mill.store.prep(job_id) == PREP | {"columns": ["id", "text", "", "größe\n", "a/b"]}


def test_a_job_that_had_no_columns_gets_them_by_an_append(mill: Mill) -> None:
    job_id = submit(mill, [{}])
    append(mill, job_id, staged(mill, [{"vars": {"a": 1}}], {"columns": ["a"]}))
    assert mill.store.side(job_id, 0, 2) == [{}, {"vars": {"a": 1}}]
    assert mill.store.prep(job_id) == {"columns": ["a"]}


def test_an_append_that_would_pass_the_columns_of_a_job_adds_nothing(
    mill: Mill, key_snapshot: Callable[[], set[str]]
) -> None:
    full: JobPrep = {"columns": [f"c{i}" for i in range(MOST_COLUMNS)]}
    job_id = submit(mill, rows(2), full)
    append(mill, job_id, staged(mill, rows(1), {"columns": ["c0"]}))
    before = key_snapshot()
    with pytest.raises(InvalidRequest) as refused:
        append(mill, job_id, staged(mill, rows(200), {"columns": ["one more"]}))
    assert refused.value.code == "too_many_columns"
    assert (mill.store.job(job_id).total, key_snapshot()) == (3, before)


def test_sides_and_preparation_count_as_stored(mill: Mill) -> None:
    plain = mill.store.job(submit(mill, [{}] * 200)).size
    job_id = submit(mill, rows(200), PREP)
    side = sum(map(len, mill.client.hvals(keys.job(job_id, "side"))))
    prep = sum(map(len, mill.client.hvals(keys.job(job_id, "prep"))))
    job = mill.store.job(job_id)
    assert job.size == plain + side + prep
    assert job.weight == -(-job.size // 200)
    stage = staged(mill, rows(200))
    append(mill, job_id, stage)
    assert mill.store.job(job_id).size == job.size + stage.bytes
    assert int(mill.client.hget(keys.stored("t"), "jobs")) == plain + job.size + stage.bytes


def test_deleting_a_job_removes_its_sides(mill: Mill, key_snapshot: Callable[[], set[str]]) -> None:
    before = key_snapshot()
    mill.store.delete(submit(mill, rows(200), PREP))
    assert {key for key in key_snapshot() - before if ":job:" in key} == set()


def test_a_discarded_stage_leaves_nothing(mill: Mill) -> None:
    staged(mill, rows(200), PREP).discard()
    assert mill.client.keys("pm:stage:*") == []


def test_a_copy_of_a_job_has_its_sides_and_preparation(mill: Mill) -> None:
    given = rows(CHUNK + 9)
    job_id, copy = submit(mill, given, PREP), mill.store.stage()
    assert mill.store.copy_items(job_id, copy, len(given))
    copy.take(len(given), mill.store.job(job_id).size, (1, 1))
    again = new_job_id()
    fields = job_fields("m", "d", len(given), {"params": {}})
    assert mill.store.attach(copy, fields, job_id=again).outcome == "new"
    assert mill.store.side(again, 0, len(given)) == given
    assert mill.store.prep(again) == PREP
    assert mill.store.job(again).size == mill.store.job(job_id).size
