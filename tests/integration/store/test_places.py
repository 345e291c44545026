"""Lists go on from behind what was deleted."""

from __future__ import annotations

import io

import pytest

from common.errors import NotFound
from common.store import keys
from common.store.batches import Batches, job_of, new_batch_id
from common.store.files import Files
from common.store.places import place_of
from tests.support.store import BATCH_FIELDS, Mill


def test_a_list_goes_on_from_behind_a_deleted_job(mill: Mill) -> None:
    made = [mill.submit(1) for _ in range(6)]
    line = keys.tenant_jobs("t")
    for at, job_id in enumerate(made):
        mill.client.zadd(line, {job_id: 1000 + at // 2})  # two of each millisecond
    listed = [job.id for job in mill.store.jobs("t", None, 10)[0]]
    for at, cursor in enumerate(listed[:-1]):
        mill.store.delete(cursor)
        rest, more = mill.store.jobs("t", cursor, 10)
        assert ([job.id for job in rest], more) == (listed[at + 1 :], False)
        assert [job.id for job in mill.store.jobs("t", listed[0], 1)[0]] == listed[at + 1 : at + 2]


def test_deleting_each_page_while_paging_deletes_everything(mill: Mill) -> None:
    made = {mill.submit(1) for _ in range(11)}
    seen: list[str] = []
    after, more = None, True
    while more:
        jobs, more = mill.store.jobs("t", after, 3)
        for job in jobs:
            mill.store.delete(job.id)
        seen += [job.id for job in jobs]
        after = seen[-1]
    assert len(seen) == 11 and set(seen) == made


def test_batches_and_files_leave_their_places_too(mill: Mill) -> None:
    batches, files = Batches(mill.client), Files(mill.client)
    named, kept = [], []
    for at in range(3):
        named.append(new_batch_id())
        batches.create(named[-1], "t", BATCH_FIELDS)
        mill.client.zadd(keys.tenant_batches("t"), {named[-1]: at})
        mill.submit(1, job_id=job_of(named[-1]), batch=named[-1])
        kept.append(
            files.create(
                "t", io.BytesIO(b"x"), filename="a", purpose="batch", ttl=60, admit=lambda _: None
            ).id
        )
        mill.client.zadd(keys.tenant_files("t"), {kept[-1]: at})
    mill.store.delete(job_of(named[1]))
    files.delete(kept[1], "t")
    mill.client.delete(keys.file(kept[2]))  # it expired
    assert [each.id for each in batches.walk("t", behind=batches.place(named[1], "t"))] == [
        named[0]
    ]
    for behind in kept[1:]:
        place = files.place(behind, "t")
        assert [each.id for each in files.walk("t", newest_first=True, behind=place)] == [kept[0]]
    assert files.place(kept[2], "t") == (2, kept[2]), "also once it was found to have expired"


def test_what_was_never_there_is_no_place_nor_is_anothers(mill: Mill) -> None:
    mine, theirs = mill.submit(1), mill.submit(1, tenant="other")
    mill.store.delete(mine)
    mill.store.delete(theirs)
    assert place_of(mill.client, keys.tenant_jobs("t"), "t", mine)
    for name in (theirs, "job_0never", "job_0x:st", ""):
        with pytest.raises(NotFound):
            mill.store.jobs("t", name, 10)


def test_places_are_forgotten_after_a_day_and_are_never_too_many(mill: Mill) -> None:
    def leave() -> str:
        job_id = mill.submit(1)
        mill.store.delete(job_id)
        return job_id

    old, new = leave(), leave()
    assert (
        86_000 < mill.client.ttl("pm:gone:t") <= 86_400
        and 86_000 < mill.client.ttl("pm:left:t") <= 86_400
    )
    mill.client.zadd("pm:left:t", {old: mill.store.now() - 86_400_001})
    leave()
    assert mill.client.zscore("pm:gone:t", old) is None and mill.client.zscore("pm:gone:t", new)
    many = {f"job_{number}": number + 1 for number in range(10_050)}
    mill.client.zadd("pm:gone:t", many)
    mill.client.zadd("pm:left:t", {name: mill.store.now() - 1000 for name in many})
    last = leave()
    assert mill.client.zcard("pm:gone:t") == mill.client.zcard("pm:left:t") == 10_000
    assert mill.client.zscore("pm:gone:t", last)


def test_an_interactive_job_leaves_no_place(mill: Mill) -> None:
    mill.store.delete(mill.submit(1, interactive=1))
    assert not mill.client.exists("pm:gone:t")
