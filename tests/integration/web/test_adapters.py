"""Models with adapters in the web tier: their names have a colon, their tokenizers are shared."""

from __future__ import annotations

import pytest

from common.types import ModelCard
from tests.support.cards import card
from tests.support.web import Web

NAME = "echo:law"


@pytest.fixture
def law(web: Web) -> ModelCard:
    made = card(NAME, digest="digest-law", adapter="law", base="echo", base_digest=web.card.digest)
    web.services.fleet.publish(made, b"not this one")
    return made


def test_a_job_for_an_adapter_is_run_by_its_workers_only(web: Web, law: ModelCard) -> None:
    job = web.submit("a b", model=NAME)
    base, own = web.worker(), web.worker(law)
    assert base.take().runs == []
    own.run()
    view = web.get(f"/v1/jobs/{job}").json
    assert (view["model"], view["status"]) == (NAME, "completed")
    assert NAME in web.get(f"/v1/jobs/{job}/results.csv").text
    listed = web.get("/v1/jobs", query_string={"model": NAME}).json["data"]
    assert [each["id"] for each in listed] == [job]


def test_a_tenant_who_is_named_like_an_adapter_is_another_thing(web: Web, law: ModelCard) -> None:
    key = web.services.api_keys.create_key("law")
    theirs = web.call("POST", "/v1/jobs", key, json={"model": "echo", "prompts": ["a"]}).json["id"]
    ours = web.submit("a", model=NAME)
    assert [run.job_id for run in web.worker(law).take().runs] == [ours]
    assert [run.job_id for run in web.worker().take().runs] == [theirs]


def test_a_model_and_its_adapters_are_workers_of_their_own(web: Web, law: ModelCard) -> None:
    web.worker()
    web.worker(law)
    workers = web.get("/v1/workers").json["data"]
    assert sorted(each["model"] for each in workers) == ["echo", NAME]
    assert len({(each["host"], each["pid"]) for each in workers}) == 1
    shown = web.get(f"/v1/models/{NAME}").json
    assert (shown["id"], shown["workers"], shown["card"]["adapter"]) == (NAME, 1, "law")
    assert f'promptmill_slots{{model="{NAME}"}} 8.0' in web.get("/metrics").text


def test_the_tokenizer_of_a_model_is_kept_once_for_all_its_adapters(
    web: Web, law: ModelCard
) -> None:
    fleet = web.services.fleet
    fleet.publish(web.card, b"a tokenizer")
    assert fleet.tokenizer(law.digest) == fleet.tokenizer(web.card.digest) == b"a tokenizer"
    web.submit("a b", model="echo")
    web.submit("a b", model=NAME)
    assert list(web.services.models._loaded) == [web.card.digest]
