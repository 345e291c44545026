"""What a 202 and a visible result promise, on a server that is killed."""

from __future__ import annotations

import pytest

from common.errors import Unavailable
from tests.integration.worker.conftest import Queue


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
def test_what_was_acknowledged_survives_the_kill_of_the_server(own_server, appendfsync):
    own_server.start(appendfsync=appendfsync)
    for _ in range(5):
        job_id = Queue(own_server.url).submit(3)
        own_server.kill()
        own_server.start(appendfsync=appendfsync)
        assert Queue(own_server.url).count(job_id, "pending") == 3


def test_under_everysec_the_acknowledgement_waits_for_the_disk(own_server):
    own_server.start(appendfsync="everysec")
    queue = Queue(own_server.url)
    queue.submit(1)
    stats = queue.store.client.info("commandstats")
    assert stats["cmdstat_waitaof"]["calls"] == 1


def test_under_always_it_need_not(own_server):
    own_server.start()
    queue = Queue(own_server.url)
    queue.submit(1)
    assert "cmdstat_waitaof" not in queue.store.client.info("commandstats")


def test_a_job_is_refused_before_the_server_is_full_with_its_results_counted(own_server):
    own_server.start(maxmemory="50mb")
    store = Queue(own_server.url).store
    store.check_memory(1_000_000)
    with pytest.raises(Unavailable, match="memory is spoken for"):
        store.check_memory(13_000_000)
