"""Workers on one host never use the same GPU, and each gets all that it needs or none. `nvidia-smi`
is a script; the locks are real."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from common.errors import ConfigError
from common.settings import Settings
from common.store.connection import connect
from common.store.gpus import LEASE, Gpus, Held
from tests.support.gpus import have_gpus, uuid
from tests.support.processes import ROOT, spawn
from tests.support.waiting import wait_until
from worker.gpu import claim_gpus, visible_gpus, worker_count

ALL = [uuid(index) for index in range(6)]


@pytest.fixture
def six_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    have_gpus(tmp_path, monkeypatch, 6)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connect(redis_url) as client:
        yield client


def unexpected() -> None:
    raise AssertionError("nobody took this worker's GPUs")


def holders(client: redis.Redis) -> dict[str, str]:
    """Who holds which GPU, as Redis has it."""
    found = zip(ALL, client.mget([f"pm:gpu:{each}" for each in ALL]), strict=True)
    return {each: owner.decode() for each, owner in found if owner}


def all_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    """As another process sees them: a claim hides the others from its own."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")


def test_each_worker_claims_devices_of_its_own_and_one_too_many_is_refused(
    client: redis.Redis, six_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = claim_gpus(client, "a", 1, unexpected)
    assert first is not None and os.environ["CUDA_VISIBLE_DEVICES"] == ALL[0]
    all_visible(monkeypatch)
    second = claim_gpus(client, "b", 4, unexpected)
    assert second is not None and os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(ALL[1:5])
    all_visible(monkeypatch)
    with pytest.raises(ConfigError, match="needs 2 of the 6 visible GPUs, and 1 are free") as error:
        claim_gpus(client, "c", 2, unexpected, patience=0)
    assert f"a uses {ALL[0]}; b uses {', '.join(ALL[1:5])}" in error.value.message
    assert "CUDA_VISIBLE_DEVICES" not in os.environ and set(holders(client).values()) == {"a", "b"}
    first.release()
    third = claim_gpus(client, "c", 2, unexpected, patience=0)
    assert third is not None and third.uuids == (ALL[0], ALL[5])
    assert all(0 < client.pttl(f"pm:gpu:{each}") <= LEASE for each in ALL), "a killed one's expire"
    second.release()
    third.release()
    assert holders(client) == {}


def test_a_worker_that_needs_more_than_there_are_is_refused_at_once(
    client: redis.Redis, six_gpus: None
) -> None:
    with pytest.raises(ConfigError, match=r"needs 7 GPUs .* and 6 are visible"):
        claim_gpus(client, "a", 7, unexpected, patience=60)
    assert holders(client) == {}


def test_a_worker_waits_until_there_are_enough(client: redis.Redis, six_gpus: None) -> None:
    gpus = Gpus(client)
    assert gpus.hold("other", ALL[:3], 3).uuids == tuple(ALL[:3])
    free_soon = threading.Timer(1.0, gpus.release, ["other", ALL[:3]])
    free_soon.start()
    claim = claim_gpus(client, "a", 4, unexpected)
    assert claim is not None and claim.uuids == tuple(ALL[:4])
    claim.release()


def test_a_claim_that_is_sent_again_answers_the_same(client: redis.Redis) -> None:
    gpus = Gpus(client)
    assert gpus.hold("other", ALL[:1], 1).uuids == (ALL[0],)
    first = gpus.hold("a", ALL, 2)
    gpus.release("other", ALL[:1])  # now a GPU that comes before is free
    assert gpus.hold("a", ALL, 2).uuids == first.uuids == (ALL[1], ALL[2])
    gpus.release("a", ALL)


def test_a_renewal_brings_back_what_expired_but_takes_nothing_from_another(
    client: redis.Redis,
) -> None:
    gpus = Gpus(client)
    mine = gpus.hold("a", ALL, 3).uuids
    client.delete(f"pm:gpu:{mine[0]}")
    assert gpus.hold("a", mine, 3).uuids == mine
    client.set(f"pm:gpu:{mine[1]}", "b", px=LEASE)
    held = gpus.hold("a", mine, 3)
    assert held.uuids == () and held.others == {mine[1]: "b"}
    gpus.release("a", mine)
    assert holders(client) == {mine[1]: "b"}, "a release takes nothing from another, either"
    gpus.release("b", mine)


def test_a_worker_is_told_once_that_another_has_one_of_its_gpus(
    client: redis.Redis, six_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.gpu.LEASE", 300)  # ms: it renews ten times a second
    told: list[str] = []
    claim = claim_gpus(client, "a", 2, lambda: told.append("lost"))
    assert claim is not None
    client.set(f"pm:gpu:{ALL[1]}", "b", px=LEASE)
    wait_until(lambda: told == ["lost"])
    time.sleep(0.5)
    assert told == ["lost"] and holders(client)[ALL[1]] == "b"
    claim.release()
    assert holders(client) == {ALL[1]: "b"}


def test_a_renewal_under_way_does_not_outlive_the_release(
    client: redis.Redis, six_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would keep the next worker from the GPUs until the lock expires."""
    monkeypatch.setattr("worker.gpu.LEASE", 300)  # ms
    claim = claim_gpus(client, "a", 2, unexpected)
    assert claim is not None
    begun, hold = threading.Event(), claim._gpus.hold

    def slow(*wanted: Any) -> Held:
        begun.set()
        time.sleep(0.3)
        return hold(*wanted)

    monkeypatch.setattr(claim._gpus, "hold", slow)
    assert begun.wait(5)
    claim.release()
    time.sleep(0.5)
    assert holders(client) == {}


HOLD = """
import sys
from common.store.connection import connect
from common.store.gpus import Gpus
print(*Gpus(connect(sys.argv[1])).hold("killed", sys.argv[2:], 4).uuids, flush=True)
sys.stdin.read()
"""


def test_the_locks_of_a_killed_process_expire(redis_url: str, client: redis.Redis) -> None:
    command = [sys.executable, "-c", HOLD, redis_url, *ALL]
    with spawn(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stdout.readline().split() == ALL[:4]
        process.kill()
    assert Gpus(client).hold("next", ALL, 3).uuids == ()
    for each in ALL[:4]:
        assert 0 < client.pttl(f"pm:gpu:{each}") <= LEASE
        client.pexpire(f"pm:gpu:{each}", 1)
    time.sleep(0.05)
    assert Gpus(client).hold("next", ALL, 3).uuids == tuple(ALL[:3])
    Gpus(client).release("next", ALL)


class Claimers:
    """Threads that claim, renew, release and sometimes lose their locks, each for itself. `users`
    has who uses a GPU at this moment: what Redis says is compared with it."""

    def __init__(self, url: str):
        self._url = url
        self._lock = threading.Lock()
        self.users: dict[str, str] = {}
        self.wrong: list[str] = []
        self.turns = 0

    def walk(self, name: str, wanted: int, turns: int) -> None:
        chance = random.Random(f"{name} {wanted}")
        with connect(self._url) as client:
            gpus = Gpus(client)
            for turn in range(turns):
                owner = f"{name}:{turn}"
                while not (uuids := gpus.hold(owner, ALL, wanted).uuids):
                    time.sleep(chance.random() / 100)
                self._use(owner, uuids, wanted)
                for _ in range(chance.randrange(3)):
                    if gpus.hold(owner, uuids, wanted).uuids != uuids:
                        self.wrong.append(f"{owner} lost a lock of {uuids}")
                self._leave(uuids)
                if chance.random() < 0.3:  # it is killed: its locks expire
                    for each in uuids:
                        client.pexpire(f"pm:gpu:{each}", chance.randrange(1, 20))
                else:
                    gpus.release(owner, uuids)

    def _use(self, owner: str, uuids: tuple[str, ...], wanted: int) -> None:
        with self._lock:
            self.turns += 1
            if len(set(uuids)) != wanted:
                self.wrong.append(f"{owner} got {uuids}, not {wanted}")
            self.wrong += [f"{owner} and {self.users[u]}: {u}" for u in uuids if u in self.users]
            self.users |= dict.fromkeys(uuids, owner)

    def _leave(self, uuids: tuple[str, ...]) -> None:
        with self._lock:
            for each in uuids:
                self.users.pop(each, None)


def test_many_claimers_never_share_a_gpu_and_all_get_their_turns(
    redis_url: str, client: redis.Redis
) -> None:
    claimers, turns = Claimers(redis_url), 25
    wants = (4, 4, 6, 3, 2, 1, 1)
    threads = [
        threading.Thread(target=claimers.walk, args=[f"w{n}", wanted, turns], daemon=True)
        for n, wanted in enumerate(wants)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a deadlock"
    assert claimers.wrong == [] and claimers.turns == len(wants) * turns
    wait_until(lambda: holders(client) == {})


def test_only_visible_devices_are_claimed(six_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"5,{ALL[1]},1,9")
    assert visible_gpus() == [ALL[1], ALL[5]]  # in the driver's order, and none twice
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 6),
        ({"engine": "vllm", "tensor_parallel": 2}, 3),
        ({"engine": "vllm", "tensor_parallel": 4}, 1),
        ({"engine": "vllm", "tensor_parallel": 2, "pipeline_parallel": 3}, 1),
        ({"engine": "vllm", "tensor_parallel": 7}, 1),  # which then says that there are too few
        ({"device": "cpu"}, 1),
        ({"engine": "echo"}, 1),
    ],
)
def test_a_machine_runs_a_worker_for_each_group_of_gpus(
    six_gpus: None, settings: dict[str, object], count: int
) -> None:
    assert worker_count(Settings.load(**settings)) == count


def test_a_machine_without_gpus_has_none_to_claim(
    client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert claim_gpus(client, "a", 2, unexpected) is None
    assert worker_count(Settings.load()) == 1
