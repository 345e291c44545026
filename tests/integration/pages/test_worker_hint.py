"""The command that pages and errors give where a model has no worker: it works on this machine."""

from __future__ import annotations

import html
import re

import pytest

from common.store.fleet import Fleet
from common.worker_command import DATA
from tests.support.cards import card
from tests.support.web import Site


def commands_on(site: Site, path: str) -> list[str]:
    found = re.findall(r"<code[^>]*>([^<]*promptmill worker[^<]*)</code>", site.look(path))
    return [html.unescape(command) for command in found]


def test_beside_up_a_worker_needs_the_data_folder_only(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = site.submit("a")
    ours = site.services.settings.model_name
    monkeypatch.setenv(DATA, "/home/me/my data")
    Fleet(site.services.redis).publish(card(ours), b"")
    assert commands_on(site, "/workers") == ["promptmill worker --data '/home/me/my data'"]
    (command,) = commands_on(site, f"/jobs/{job_id}")
    assert command.endswith("promptmill worker --data '/home/me/my data'")


def test_elsewhere_the_served_name_is_kept(site: Site) -> None:
    job_id = site.submit("a")
    (command,) = commands_on(site, f"/jobs/{job_id}")
    name = site.services.store.job(job_id).model
    named = f"PROMPTMILL_MODEL=… PROMPTMILL_SERVED_NAME={name}"
    assert command == f"REDIS_URL=… {named} promptmill worker"


def test_for_a_model_with_an_adapter_the_command_serves_both(site: Site) -> None:
    law = card("echo:law", digest="digest-law", adapter="law", base="echo")
    site.services.fleet.publish(law, b"")
    job_id = site.submit("a", model="echo:law")
    (command,) = commands_on(site, f"/jobs/{job_id}")
    named = "PROMPTMILL_MODEL=… PROMPTMILL_SERVED_NAME=echo"
    adapters = "PROMPTMILL_ENGINE=vllm PROMPTMILL_ADAPTERS=law=…"
    assert command == f"REDIS_URL=… {named} {adapters} promptmill worker"
    assert "adapter law of echo" in site.look("/workers")
