"""Items found by state, error, custom_id and text, in every order, within a bounded time."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.cards import card
from tests.support.web import Web
from web.jobs import item_search

ORDERS = ("index", "-index", "finished", "-finished")


def found(web: Web, job: str, **query: Any) -> list[int]:
    """The indices that a search answers, page by page."""
    indices: list[int] = []
    for _ in range(200):
        answer = web.get(f"/v1/jobs/{job}/items", query_string=query)
        assert answer.status_code == 200, answer.text
        indices += [row["index"] for row in answer.json["data"]]
        if not answer.json["has_more"]:
            assert answer.json["after"] is None
            return indices
        query["after"] = answer.json["after"]
    raise AssertionError("the pages do not end")


def items(web: Web, *wanted: dict[str, Any]) -> str:
    answer = web.post("/v1/jobs", json={"items": list(wanted)})
    assert answer.status_code == 202, answer.text
    return str(answer.json["id"])


@pytest.fixture
def mixed(web: Web) -> str:
    """Items 0 to 9: 0 to 3 succeeded, 4 and 5 failed in one way, 6 in another, 7 to 9 wait."""
    job = items(web, *({"prompt": f"text {i}", "custom_id": f"Row-{i}"} for i in range(10)))
    worker = web.worker()
    worker.run(4)
    worker.run(2, error="engine_error")
    worker.run(1, error="worker_lost")
    return job


def test_items_are_found_by_state_and_by_error(web: Web, mixed: str) -> None:
    assert found(web, mixed, state="succeeded") == [0, 1, 2, 3]
    assert found(web, mixed, state="failed") == [4, 5, 6]
    assert found(web, mixed, state="pending", limit=1) == [7, 8, 9]
    assert found(web, mixed, error="engine_error") == [4, 5]
    assert found(web, mixed, error="engine_error", state="failed") == [4, 5]
    assert found(web, mixed, error="engine_error", state="succeeded") == []
    assert found(web, mixed, error="never_seen") == []


def test_items_are_found_by_a_part_of_their_custom_id_in_either_case(web: Web, mixed: str) -> None:
    assert found(web, mixed, id="row-3") == [3]
    assert found(web, mixed, id="ROW") == list(range(10))
    assert found(web, mixed, id="ow-5", text="TEXT 5") == [5]
    assert found(web, mixed, id="row-5", text="text 6") == []


@pytest.mark.parametrize(
    "place",
    [
        lambda text: {"prompt": f"before {text} behind"},
        lambda text: {"messages": [{"role": "user", "content": text}]},
        lambda text: {"prompt": "p", "metadata": {"note": text}},
    ],
    ids=["prompt", "message", "metadata"],
)
@pytest.mark.parametrize(
    ("written", "searched"),
    [
        ("Straße", "STRASSE"),
        ('say "hi"', '"Hi"'),
        ("one\ntwo\tthree", "ONE\ntwo\tthree"),
        ("a\\n b", "\\n B"),
        ("東京タワー", "京タ"),
        ("\x01bell", "\x01b"),
        ("half/slash </b>", "</B"),
    ],
)
def test_items_are_found_by_any_text_of_theirs(
    web: Web, place: Any, written: str, searched: str
) -> None:
    template = "{{ messages[0].content }}"
    web.services.fleet.publish(card(chat_template=template, digest="digest-chat"), b"")
    job = items(web, {"prompt": "other"}, place(written), {"prompt": "another"})
    assert found(web, job, text=searched) == [1]


def test_items_are_found_by_their_outputs(web: Web) -> None:
    job = web.submit(*"abc")
    worker = web.worker()
    worker.run(2, text='The "Answer"\n is')
    assert found(web, job, text='"answer"\n IS 1') == [1]


def test_names_of_fields_are_no_texts(web: Web, mixed: str) -> None:
    for name in ("prompt", "custom_id", "outputs", "finish_reason", "engine_error"):
        assert found(web, mixed, text=name) == []


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_pages_in_every_order_have_each_item_once(web: Web, limit: int) -> None:
    job = web.submit(*["a"] * 12)
    worker = web.worker()
    first, second = worker.take(5), worker.take(5)
    worker.finish(second)
    worker.finish(first)
    ended = [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]
    assert found(web, job, order="index", limit=limit) == list(range(12))
    assert found(web, job, order="-index", limit=limit) == list(range(11, -1, -1))
    assert found(web, job, order="finished", limit=limit) == ended
    assert found(web, job, order="-finished", limit=limit) == ended[::-1]
    assert found(web, job, order="-index", state="succeeded", limit=limit) == list(range(9, -1, -1))
    assert found(web, job, order="-finished", state="succeeded", limit=limit) == ended[::-1]


@pytest.mark.parametrize("order", ORDERS)
def test_a_search_that_takes_too_long_says_how_far_it_looked_and_goes_on_there(
    web: Web, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    monkeypatch.setattr(item_search, "BUDGET", -1.0)
    monkeypatch.setattr(item_search, "GROUP", 4)
    monkeypatch.setattr(item_search, "FEWEST", 1)
    job = items(web, *({"prompt": f"p{i}", "custom_id": f"row-{i}"} for i in range(20)))
    web.worker().run(20)
    query: dict[str, Any] = {"text": "p19", "order": order}
    answers = [web.get(f"/v1/jobs/{job}/items", query_string=query).json]
    while answers[-1]["has_more"]:
        assert answers[-1]["searched_to"] == answers[-1]["after"]
        query["after"] = answers[-1]["after"]
        answers.append(web.get(f"/v1/jobs/{job}/items", query_string=query).json)
    assert [len(answer["data"]) for answer in answers] == (
        [1, 0, 0, 0, 0] if order.startswith("-") else [0, 0, 0, 0, 1]
    )
    assert answers[-1]["searched_to"] is None


def test_a_damaged_item_or_chunk_stops_no_search(web: Web, mixed: str) -> None:
    web.services.redis.hset(f"pm:job:{mixed}:out", "1", b"\x00 not a result")
    assert found(web, mixed, text="said 2") == [2]
    assert found(web, mixed, state="succeeded") == [0, 1, 2, 3]
    web.services.redis.hset(f"pm:job:{mixed}:in", "0", b"\x00 not a chunk")
    assert found(web, mixed, text="said 2") == []
    assert found(web, mixed, state="failed") == [4, 5, 6]


def test_a_search_of_another_tenants_job_is_not_found(web: Web, mixed: str) -> None:
    other = web.services.api_keys.create_key("rival")
    assert web.get(f"/v1/jobs/{mixed}/items?text=a", key=other).status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "state=done",
        "order=size",
        "text=",
        "text=" + "x" * 1001,
        "id=",
        "stat=failed",
        "state=failed&state=failed",
    ],
)
def test_what_a_search_does_not_know_is_refused(web: Web, mixed: str, query: str) -> None:
    answer = web.get(f"/v1/jobs/{mixed}/items?{query}")
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, query.split("=")[0])


def test_a_page_of_large_items_ends_early_also_in_a_search(web: Web) -> None:
    job = items(web, *({"prompt": "y", "metadata": {"long": "x" * 60_000}} for _ in range(100)))
    first = web.get(f"/v1/jobs/{job}/items?text=xxx&limit=1000").json
    assert 60 < len(first["data"]) < 80
    assert first["searched_to"] is None
    assert found(web, job, text="xxx", limit=1000) == list(range(100))
