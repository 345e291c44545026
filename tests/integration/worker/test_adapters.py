"""Workers that serve several models over the slots of one engine: each model as if it were alone.

The echo engine stands in for one with adapters: each word of an answer begins with the adapter's
name.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.store.connection import connect
from common.store.fleet import Fleet, LiveWorker
from common.store.scripts import Scripts
from tests.integration.worker.poisoned import DEADLY
from tests.integration.worker.test_poison import supervised
from tests.support.adapters import adapter_folder
from tests.support.valkey import OwnServer
from tests.support.waiting import wait_until
from tests.support.workers import DIGEST, Queue, Workers
from worker.adapters import card_with
from worker.models import open_model

NAMES = ("echo", "echo:law", "echo:med")
QUICK: dict[str, Any] = {"lease": 1, "heartbeat": 0.2}


@pytest.fixture
def setting(tmp_path: Path) -> str:
    """Two adapters, as PROMPTMILL_ADAPTERS has them."""
    folders = {
        name: adapter_folder(tmp_path / name, fill=bytes([number]))
        for number, name in enumerate(("law", "med"), 1)
    }
    return ",".join(f"{name}={folder}" for name, folder in folders.items())


def queues(url: str, setting: str) -> dict[str, Queue]:
    """A queue for each model."""
    paths = {name: Path(path) for name, path in (each.split("=") for each in setting.split(","))}
    opened = open_model("echo", adapters=paths)
    made = {"echo": Queue(url)}
    for adapter in opened.adapters:
        card = card_with(opened.card, adapter)
        made[card.id] = Queue(url, card.id, card.digest, adapter.name)
    return made


@pytest.fixture
def mills(redis_url: str, setting: str) -> dict[str, Queue]:
    return queues(redis_url, setting)


@pytest.fixture
def fleet(redis_url: str) -> Iterator[Fleet]:
    made = Fleet(connect(redis_url))
    yield made
    made.client.close()


def serving(fleet: Fleet, count: int) -> dict[str, LiveWorker]:
    """The workers of the three models, once there are so many; one of each model."""
    wait_until(lambda: len(fleet.workers()) == count, fleet.workers)
    return {worker.model: worker for worker in fleet.workers()}


def test_one_process_serves_the_model_and_it_with_each_adapter(
    workers: Workers, mills: dict[str, Queue], fleet: Fleet, setting: str
) -> None:
    workers.start(slots=8, echo_delay=0.005, adapters=setting)
    live = serving(fleet, 3)
    assert sorted(live) == sorted(NAMES) and len({each.pid for each in live.values()}) == 1
    cards = {card.id: card for card in fleet.models()}
    assert [(cards[name].adapter, cards[name].base) for name in NAMES] == [
        (None, None),
        ("law", "echo"),
        ("med", "echo"),
    ]
    assert len({cards[name].digest for name in NAMES}) == 3 and cards["echo"].digest == DIGEST
    jobs = {name: mill.submit(30) for name, mill in mills.items()}
    for name, job_id in jobs.items():
        mills[name].wait_status(job_id, "completed")
        assert mills[name].check_all_succeeded_once(job_id) == [1] * 30


def test_a_killed_process_loses_nothing_of_any_of_its_models(
    workers: Workers, mills: dict[str, Queue], fleet: Fleet, setting: str
) -> None:
    first = workers.start(slots=6, echo_delay=0.05, adapters=setting, **QUICK)
    serving(fleet, 3)
    jobs = {name: mill.submit(20) for name, mill in mills.items()}
    wait_until(lambda: all(mills[name].count(job_id, "succeeded") for name, job_id in jobs.items()))
    first.kill()
    workers.start(slots=6, echo_delay=0.005, adapters=setting, **QUICK)
    for name, job_id in jobs.items():
        mills[name].wait_status(job_id, "completed")
        attempts = mills[name].check_all_succeeded_once(job_id)
        assert set(attempts) <= {1, 2} and sum(each == 2 for each in attempts) <= 6


def test_sigterm_hands_back_what_all_models_run_and_charges_nothing(
    workers: Workers, mills: dict[str, Queue], fleet: Fleet, setting: str
) -> None:
    first = workers.start(slots=6, echo_delay=0.4, grace=1, adapters=setting)
    serving(fleet, 3)
    jobs = {name: mill.submit(8) for name, mill in mills.items()}
    wait_until(lambda: mills["echo"].count(jobs["echo"], "running") > 0)
    first.send_signal(signal.SIGTERM)
    assert first.wait(15) == 0, workers.log(first)
    assert fleet.workers() == [], "the leases of all of them are released"
    assert [mills[name].count(job_id, "running") for name, job_id in jobs.items()] == [0, 0, 0]
    workers.start(slots=6, echo_delay=0.005, adapters=setting)
    for name, job_id in jobs.items():
        mills[name].wait_status(job_id, "completed")
        assert mills[name].check_all_succeeded_once(job_id) == [1] * 8


def test_one_model_is_drained_and_the_others_go_on(
    workers: Workers, mills: dict[str, Queue], fleet: Fleet, setting: str
) -> None:
    workers.start(slots=4, echo_delay=0.01, adapters=setting)
    law = serving(fleet, 3)["echo:law"]
    fleet.drain(law.id, True)
    held = mills["echo:law"].submit(5)
    others = {name: mills[name].submit(30) for name in ("echo", "echo:med")}
    for name, job_id in others.items():
        mills[name].wait_status(job_id, "completed")
    assert mills["echo:law"].count(held, "pending") == 5
    mills["echo:law"].ring(fleet.drain(law.id, False))
    mills["echo:law"].wait_status(held, "completed")


def test_a_model_that_loses_its_lease_starts_over_alone(
    workers: Workers, mills: dict[str, Queue], fleet: Fleet, setting: str
) -> None:
    worker = workers.start(slots=6, echo_delay=0.05, adapters=setting, heartbeat=0.2)
    before = serving(fleet, 3)
    jobs = {name: mill.submit(12) for name, mill in mills.items()}
    wait_until(lambda: all(mills[name].count(job_id, "running") for name, job_id in jobs.items()))
    Scripts(fleet.client).release(incarnation=before["echo:law"].id, max_attempts=0)
    for name, job_id in jobs.items():
        mills[name].wait_status(job_id, "completed")
        assert mills[name].check_all_succeeded_once(job_id) == [1] * 12
    after = serving(fleet, 3)
    assert {name for name in NAMES if before[name].id != after[name].id} == {"echo:law"}
    assert worker.poll() is None


def test_a_model_that_comes_later_gets_its_share_of_the_slots(
    workers: Workers, mills: dict[str, Queue], fleet: Fleet, setting: str
) -> None:
    workers.start(slots=8, echo_delay=0.01, adapters=setting)
    serving(fleet, 3)
    many = mills["echo"].submit(200)
    wait_until(lambda: mills["echo"].count(many, "running") == 8)
    few = mills["echo:law"].submit(24)
    mills["echo:law"].wait_status(few, "completed")
    # Level with it the first has 24 and the 8 of its beginning; alone it would have all 200.
    assert mills["echo"].count(many, "succeeded") < 100
    mills["echo"].wait_status(many, "completed")


def test_an_item_that_needs_all_slots_gets_them_beside_a_model_that_never_rests(
    workers: Workers, mills: dict[str, Queue], fleet: Fleet, setting: str
) -> None:
    workers.start(slots=4, echo_delay=0.005, adapters=setting)
    serving(fleet, 3)
    many = mills["echo"].submit(600)
    stage = mills["echo:law"].store.stage()
    stage.add({"prompt": "a b", "params": {"n": 4}})
    stage.close()
    big = mills["echo:law"].submit(1, n_max=4)
    mills["echo:law"].store.append(big, stage, tokens=50, n_max=4, most_items=100)
    mills["echo:law"].wait_status(big, "completed")
    assert mills["echo"].count(many, "pending") > 100


def test_all_models_outlive_a_restart_of_the_server(
    own_server: OwnServer, tmp_path: Path, setting: str
) -> None:
    own_server.start()
    workers = Workers(own_server.url, tmp_path)
    mills = queues(own_server.url, setting)
    try:
        workers.start(slots=6, echo_delay=0.02, adapters=setting, **QUICK)
        jobs = {name: mill.submit(40) for name, mill in mills.items()}
        wait_until(lambda: mills["echo:med"].count(jobs["echo:med"], "succeeded") > 2)
        own_server.kill()
        own_server.start()
        for name, job_id in jobs.items():
            mills[name].wait_status(job_id, "completed", 60)
            assert mills[name].check_all_succeeded_once(job_id) == [1] * 40
    finally:
        workers.stop_all()


def test_an_adapter_whose_files_changed_is_refused_until_a_restart(
    workers: Workers, mills: dict[str, Queue], fleet: Fleet, setting: str, tmp_path: Path
) -> None:
    workers.start(slots=4, adapters=setting)
    serving(fleet, 3)
    adapter_folder(tmp_path / "law", fill=b"\7")
    refused, fine = mills["echo:law"].submit(3), mills["echo:med"].submit(3)
    mills["echo:law"].wait_status(refused, "completed")
    mills["echo:med"].wait_status(fine, "completed")
    rows = mills["echo:law"].store.rows(refused, 0, 3)
    errors = [row["error"] for row in rows if row["error"]]
    assert [error["code"] for error in errors] == ["adapter_changed"] * 3
    assert "adapter law have changed" in errors[0]["message"]
    assert str(tmp_path) not in errors[0]["message"], "tenants see no paths"
    assert mills["echo:med"].count(fine, "succeeded") == 3


def test_an_item_that_kills_its_workers_fails_alone_among_all_models(
    workers: Workers, mills: dict[str, Queue], setting: str
) -> None:
    """Those of other models die with it once; after that nothing of theirs runs beside it."""
    with supervised(workers, adapters=setting) as codes:
        guilty = mills["echo"].submit(9, special={4: DEADLY})
        innocent = [mills[name].submit(9) for name in NAMES[1:]]
        mills["echo"].wait_status(guilty, "completed", 90)
        for name, job_id in zip(NAMES[1:], innocent, strict=True):
            mills[name].wait_status(job_id, "completed", 60)
            mills[name].check_all_succeeded_once(job_id)
    assert codes == [-9] * 3
    rows = mills["echo"].store.rows(guilty, 0, 9)
    assert [row["index"] for row in rows if row["status"] != "succeeded"] == [4]


def test_an_adapter_that_changed_waits_for_the_jobs_that_were_made_for_what_it_was(
    workers: Workers, mills: dict[str, Queue], fleet: Fleet, setting: str, tmp_path: Path
) -> None:
    first = workers.start(slots=4, adapters=setting)
    serving(fleet, 3)
    first.terminate()
    assert first.wait(15) == 0
    job_id = mills["echo:law"].submit(2)
    before = (tmp_path / "law" / "adapter_model.safetensors").read_bytes()
    adapter_folder(tmp_path / "law", fill=b"\7")
    refused = workers.start(wait=False, adapters=setting)
    assert refused.wait(20) == 2
    said = workers.log(refused)
    assert "jobs of echo:law wait" in said and "another name with PROMPTMILL_ADAPTERS" in said
    (tmp_path / "law" / "adapter_model.safetensors").write_bytes(before)
    workers.start(slots=4, adapters=setting)
    mills["echo:law"].wait_status(job_id, "completed")
    mills["echo:law"].check_all_succeeded_once(job_id)


def test_adapters_of_one_folder_under_two_names_are_two_models(
    workers: Workers, fleet: Fleet, setting: str, tmp_path: Path
) -> None:
    workers.start(slots=2, adapters=f"one={tmp_path / 'law'},two={tmp_path / 'law'}")
    assert sorted(serving(fleet, 3)) == ["echo", "echo:one", "echo:two"]


def test_an_adapter_that_cannot_be_read_ends_the_start(
    workers: Workers, tmp_path: Path, setting: str
) -> None:
    (tmp_path / "med" / "adapter_model.safetensors").unlink()
    process = workers.start(wait=False, adapters=setting)
    assert process.wait(20) == 2
    assert "med holds no adapter_model.safetensors" in workers.log(process)
