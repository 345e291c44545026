"""What a tenant keeps of jobs, results and files: counted by each move, limited at the entrance,
recounted by ticks."""

from __future__ import annotations

import io
import os
from collections.abc import Callable

import pytest

from common.errors import StorageFull
from common.store import keys, scripts
from common.store.admission import Admission, Limits
from common.store.files import Files
from tests.support.store import Mill, done

RECOUNT = keys.PREFIX + "recount"


def limits(most: int) -> Limits:
    return Limits(stored_bytes=most)


def upload(mill: Mill, size: int, *, ttl: int = 3600, most: int = 0, tenant: str = "t") -> str:
    files = Files(mill.client)
    content = io.BytesIO(os.urandom(size))
    return files.create(
        tenant, content, filename="a", purpose="batch", ttl=ttl, admit=lambda _: None, most=most
    ).id


def kept(mill: Mill, tenant: str = "t") -> dict[str, int]:
    return {
        name.decode(): int(value)
        for name, value in mill.client.hgetall(keys.stored(tenant)).items()
    }


def bytes_of(mill: Mill, *jobs: str) -> int:
    return sum(mill.store.job(job).size for job in jobs)


def recount(mill: Mill) -> None:
    """A whole round, from its beginning."""
    mill.client.delete(RECOUNT)
    for _ in range(200):
        mill.tick()
        if mill.client.hget(RECOUNT, "nth") == b"0":
            return
    raise AssertionError("the recount does not end")


def test_every_move_counts_what_is_kept(mill: Mill) -> None:
    job, other, worker = mill.submit(3), mill.submit(2, "u"), mill.worker()
    assert kept(mill) == {"jobs": bytes_of(mill, job)}
    before = bytes_of(mill, job)
    worker.exchange(done(worker.exchange([], 8)), 0)
    assert kept(mill) == {"jobs": bytes_of(mill, job)}
    assert bytes_of(mill, job) > before
    assert kept(mill, "u") == {"jobs": bytes_of(mill, other)}
    more = mill.submit(4)
    mill.store.append(more, mill.stage([1, 1], named=False), tokens=20, n_max=1, most_items=99)
    assert kept(mill) == {"jobs": bytes_of(mill, job, more)}
    mill.store.delete(more)
    assert kept(mill) == {"jobs": bytes_of(mill, job)}
    mill.client.zadd(keys.DUE, {f"purge:{job}": 1})
    mill.tick()
    assert kept(mill) == {}


def test_files_count_as_they_are_stored_until_they_are_deleted_or_their_time_is_up(
    mill: Mill,
) -> None:
    mill.client.sadd(keys.TENANTS, "t")
    first, second = upload(mill, 300_000), upload(mill, 10)
    whole = kept(mill)["files"]
    assert 300_000 < whole < 301_000
    Files(mill.client).delete(first, "t")
    assert 10 <= kept(mill)["files"] < 100
    mill.client.zadd(keys.DUE, {f"file:{second}": 1})
    mill.tick()
    assert kept(mill) == {}
    assert not mill.client.exists(keys.file(second), keys.file(second, "data"))
    assert mill.client.zscore(keys.DUE, f"file:{first}") is None


def test_interactive_jobs_are_neither_counted_nor_refused(mill: Mill) -> None:
    assert mill.submit(1, interactive=1)
    assert kept(mill) == {}
    full = mill.submit(1)
    stage = mill.stage([1])
    fields = {
        "tenant": "t",
        "model": "m",
        "digest": "d",
        "total": 1,
        "cost": 1,
        "n_max": 1,
        "priority": 0,
        "hooks": "",
    }
    fields |= {"retention": 1, "spec": '{"model": "m"}', "interactive": 1}
    assert mill.store.attach(stage, fields, job_id="job_0chat", limits=limits(1)).outcome == "new"
    mill.store.delete("job_0chat")
    assert kept(mill) == {"jobs": bytes_of(mill, full)}


def test_what_would_pass_the_limit_is_refused_whole_and_what_was_accepted_is_finished(
    mill: Mill, key_snapshot: Callable[[], set[str]]
) -> None:
    job = mill.submit(3)
    most = bytes_of(mill, job) + 50
    before = key_snapshot()
    stage = mill.stage([1, 1, 1])
    fields = {
        "tenant": "t",
        "model": "m",
        "digest": "d",
        "total": 3,
        "cost": 1,
        "n_max": 1,
        "priority": 0,
        "hooks": "",
    }
    fields |= {"retention": 1, "spec": '{"model": "m"}'}
    assert (
        mill.store.attach(stage, fields, job_id="job_0more", limits=limits(most)).outcome
        == "stored_full"
    )
    with pytest.raises(StorageFull, match="delete some"):
        mill.store.append(
            job, mill.stage([1] * 9), tokens=1, n_max=1, most_items=99, limits=limits(most)
        )
    with pytest.raises(StorageFull) as refused:
        upload(mill, 3000, most=most)
    assert (refused.value.status, refused.value.code, refused.value.retry) == (
        429,
        "storage_full",
        False,
    )
    assert key_snapshot() == before
    worker = mill.worker()
    worker.exchange(done(worker.exchange([], 8)), 0)
    assert mill.counts(job) == {"succeeded": 3}, "results are stored over the limit"
    assert kept(mill)["jobs"] > most
    with pytest.raises(StorageFull):
        Admission(mill.client).check_stored("t", 0, most)
    mill.store.delete(job)
    upload(mill, 20, most=most)


@pytest.mark.parametrize("slice_", [1, 3, 1000])
def test_a_recount_finds_what_was_not_counted(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, slice_: int
) -> None:
    """As after an update: jobs and files that older parts made, and removed, without counting."""
    source = scripts.source
    changed = source("tick").replace("RECOUNTED = 1000", f"RECOUNTED = {slice_}")
    monkeypatch.setattr(scripts, "source", lambda name: changed if name == "tick" else source(name))
    mill = Mill(redis_url)
    mill.client.sadd(keys.TENANTS, "t", "u", "v")
    jobs = [mill.submit(i + 1) for i in range(4)] + [mill.submit(1, interactive=1)]
    files, other = [upload(mill, 100 + i) for i in range(3)], mill.submit(2, "u")
    true = {tenant: kept(mill, tenant) for tenant in ("t", "u")}
    mill.client.hset(keys.stored("t"), mapping={"jobs": -12345, "files": 9})
    mill.client.delete(keys.stored("u"))
    mill.client.hset(keys.stored("v"), "jobs", 77)
    recount(mill)
    assert {tenant: kept(mill, tenant) for tenant in ("t", "u")} == true
    assert kept(mill, "v") == {}
    mill.client.hdel(keys.file(files[0]), "stored")  # of an earlier version
    recount(mill)
    assert kept(mill)["files"] == pytest.approx(true["t"]["files"], abs=30)
    for job in (*jobs, other):
        mill.store.delete(job)
    for file in files:
        Files(mill.client).delete(file, "t")
    assert kept(mill) == kept(mill, "u") == {}


def test_a_round_of_recounts_begins_every_ten_minutes(mill: Mill) -> None:
    mill.client.sadd(keys.TENANTS, "t")
    recount(mill)
    mill.client.hset(keys.stored("t"), "jobs", 5)
    mill.tick()
    assert kept(mill) == {"jobs": 5}
    mill.client.hset(RECOUNT, "began", mill.store.now() - 600_001)
    mill.tick()
    mill.tick()
    assert kept(mill) == {}


def test_a_tick_reads_the_names_of_all_tenants_once_however_many_it_recounts(mill: Mill) -> None:
    mill.client.sadd(keys.TENANTS, *(f"tenant-{number}" for number in range(300)))
    mill.client.config_resetstat()
    mill.tick()
    assert mill.client.hget(RECOUNT, "nth") == b"0", "the round is not over"
    assert mill.client.info("commandstats")["cmdstat_smembers"]["calls"] <= 3


def test_what_log_probabilities_will_take_is_reserved_while_it_waits(mill: Mill) -> None:
    job, plain = mill.submit(4, surplus=100), mill.submit(2)
    assert mill.client.hget(keys.queued(), "surplus") == b"400"
    mill.store.append(
        job, mill.stage([1] * 4, named=False), tokens=40, n_max=1, most_items=99, surplus=800
    )
    assert mill.client.hget(keys.queued(), "surplus") == b"1200"
    worker = mill.worker()
    worker.exchange(done(worker.exchange([], 8)), 8)
    assert mill.counts(job) == {"succeeded": 8} or mill.counts(plain) == {"succeeded": 2}
    worker.exchange(done(worker.exchange([], 8)), 0)
    worker.release()
    for each in (job, plain):
        mill.store.delete(each)
    assert mill.client.hget(keys.queued(), "surplus") == b"0"
    mill.client.hset(keys.queued(), "surplus", 99)  # as an older part leaves it
    mill.tick()
    assert mill.client.hget(keys.queued(), "surplus") is None
