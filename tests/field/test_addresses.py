"""Everything runs, whichever way the server is reached: over a socket, as a user with few rights,
through Sentinels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.valkey import free_port
from common.errors import Unavailable
from common.store.connection import connect
from common.store.incarnation import Incarnation
from tests.support.cluster import Cluster
from tests.support.processes import ROOT
from tests.support.receiver import SECRET, Receiver
from tests.support.up import Running, run
from tests.support.users import Users
from tests.support.valkey import RedisServer
from tests.support.waiting import wait_until
from tests.support.webhook_worker import CARD

PARTS = ("--engine", "echo", "--model", "echo", "--workers", "1")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Starts servers."""
    started: list[RedisServer] = []

    def start(*lines: str, **options: str) -> RedisServer:
        started.append(RedisServer(tmp_path / f"server-{len(started)}", *lines, **options))
        started[-1].start()
        return started[-1]

    yield start
    for each in started:
        each.kill()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "cluster")
    yield cluster
    cluster.stop()


def run_a_job_with_everything(running: Running, receiver: Receiver) -> None:
    """Submitted, waited for, streamed, told by webhook, read, cancelled and deleted."""
    client = running.client()
    webhook = {"url": receiver.url, "secret": SECRET, "events": ["job.started", "job.finished"]}
    job = {
        "items": [{"prompt": "a b c", "stream": True}] * 5,
        "params": {"max_tokens": 4},
        "webhook": webhook,
    }
    job_id = str(client.submit(job)["id"])
    *_, last = client.watch(job_id)
    assert last["counts"]["succeeded"] == 5
    assert len(list(client.items(job_id))) == 5
    receiver.wait_for(2)
    paused = str(client.submit(job)["id"])
    client.cancel(paused)
    wait_until(lambda: client.job(paused)["status"] in ("cancelled", "completed"))


def test_all_parts_run_over_a_socket(
    up: Callable[..., Running],
    server: Callable[..., RedisServer],
    receiver: Receiver,
    tmp_path: Path,
) -> None:
    socket = Path("/tmp") / f"mill-{free_port()}.sock"  # a path has 107 characters at most
    server(port="0", unixsocket=str(socket), requirepass="secret")
    url = f"unix://:secret@{socket}?db=3"
    wait_until(socket.exists)
    running = up(
        *PARTS, "--port", str(free_port()), REDIS_URL=url, PROMPTMILL_WEBHOOK_ALLOW=receiver.host
    )
    run_a_job_with_everything(running.wait_until_ready(), receiver)
    assert running.stop() == 0
    assert "secret" not in "".join(path.read_text() for path in (running.folder / "logs").iterdir())


def test_a_user_with_the_documented_rights_runs_everything(
    up: Callable[..., Running], server: Callable[..., RedisServer], receiver: Receiver
) -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    (rule,) = [
        line.strip() for line in page.splitlines() if line.strip().startswith("user promptmill ")
    ]
    allowed = server(rule.replace(">PASSWORD", ">secret"), "user default on >admin ~* &* +@all")
    url = f"redis://promptmill:secret@127.0.0.1:{allowed.port}/0"
    running = up(
        *PARTS, "--port", str(free_port()), REDIS_URL=url, PROMPTMILL_WEBHOOK_ALLOW=receiver.host
    )
    run_a_job_with_everything(running.wait_until_ready(), receiver)
    assert running.stop() == 0
    with allowed.client(password="admin") as client:
        assert [(entry["reason"], entry["object"]) for entry in client.acl_log()] == []


def test_a_failover_loses_nothing_that_was_promised(
    cluster: Cluster, up: Callable[..., Running], receiver: Receiver
) -> None:
    env = {
        "REDIS_URL": cluster.url,
        "PROMPTMILL_REPLICAS": "1",
        "PROMPTMILL_WEBHOOK_ALLOW": receiver.host,
    }
    running = up(
        *PARTS, "--port", str(free_port()), PROMPTMILL_ECHO_DELAY="0.005", **env
    ).wait_until_ready()
    client, first = running.client(), cluster.primary()
    webhook = {"url": receiver.url, "secret": SECRET, "events": ["job.finished"]}
    with Users(running.server(), webhook) as users:
        wait_until(lambda: len(users.jobs) > 50)
        first.kill()
        before = len(users.jobs)
        began = time.monotonic()
        wait_until(lambda: len(users.jobs) > before + 50)
        print(f"submits go on {time.monotonic() - began:.1f} s after the kill")
        assert cluster.primary() is not first
        first.start()
        before = len(users.jobs)
        wait_until(lambda: len(users.jobs) > before + 50)
    wait_until(lambda: all(client.job(job)["status"] == "completed" for job in users.jobs))
    wait_until(lambda: {call.event["data"]["id"] for call in receiver.calls} >= set(users.jobs))
    assert set(users.statuses) <= {202, 503}, users.statuses
    assert "ended with exit code" not in running.said


def test_a_promise_that_a_replica_lacks_is_not_made_however_often_it_is_asked_for(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.store.scripts.LIMIT", 300)
    replica = next(server for server in cluster.servers if server is not cluster.primary())
    client = connect(cluster.url, replicas=2)
    worker = Incarnation(client, CARD, lease=60)
    worker.register({"host": "here", "pid": "1", "started_at": "0"})
    replica.freeze()
    for _ in range(2):
        with pytest.raises(Unavailable):
            worker.exchange([], 1)
        # The same call is sent again, on a connection that wrote nothing yet.
        client.connection_pool.disconnect()
    replica.thaw()
    assert not worker.exchange([], 1).lost
    worker.release()


@pytest.mark.parametrize("part", ["serve", "worker", "webhooks", "up", "doctor"])
def test_nonsense_is_refused_at_the_start_of_every_part(part: str, tmp_path: Path) -> None:
    ended = run(part, env={"REDIS_URL": "redis://:hidden@queue:six/0"})
    assert ended.returncode == 2
    assert (
        ended.stderr
        == "promptmill: REDIS_URL='redis://queue:six/0': has no good host and port: 'queue:six'\n"
    )
