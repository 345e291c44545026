"""The list of a job's items: found by what is chosen, all of it in the address, also on the way to
an item and back."""

from __future__ import annotations

import html
import re

import pytest

from common.store import keys
from tests.support.web import Site


@pytest.fixture
def job_id(site: Site) -> str:
    """Of 120 items, of which number 3 and number 4 failed."""
    items = [
        {"custom_id": f"row-{i}", "prompt": f"apple {i}" if i % 10 == 4 else f"pear {i}"}
        for i in range(120)
    ]
    made = site.post("/v1/jobs", json={"items": items}).json["id"]
    worker = site.worker()
    worker.run(3)
    worker.finish(worker.take(2), error="engine_error")
    for _ in range(20):
        worker.run(8)
    return str(made)


def rows(site: Site, path: str) -> list[int]:
    return [int(index) for index in re.findall(r'id="item-(\d+)"', site.look(path))]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=failed", [3, 4]),
        ("state=pending", []),
        ("error=engine_error", [3, 4]),
        ("text=APPLE", [i for i in range(120) if i % 10 == 4]),
        ("text=apple&state=failed", [4]),
        ("id=row-11", [11, *range(110, 120)]),
        ("order=-index&id=row-11", [*range(119, 109, -1), 11]),
    ],
)
def test_items_are_found_by_what_the_address_says(
    site: Site, job_id: str, query: str, found: list[int]
) -> None:
    assert rows(site, f"/jobs/{job_id}?{query}") == found


def test_what_was_chosen_is_shown_as_chosen(site: Site, job_id: str) -> None:
    text = site.look(f"/jobs/{job_id}?state=failed&text=apple")
    assert "<option selected>failed</option>" in text
    assert 'name="text" value="apple"' in text


def test_more_than_a_page_is_found_page_by_page(site: Site, job_id: str) -> None:
    path: str | None = f"/jobs/{job_id}?text=pear&order=-index"
    found = []
    while path:
        found += rows(site, path)
        more = re.search(r'href="([^"]+)" rel="next"', site.look(path))
        path = html.unescape(more[1]).partition("#")[0] if more else None
    assert found == [i for i in range(119, -1, -1) if i % 10 != 4]


def test_a_choice_that_there_is_not_is_refused_by_a_page(site: Site, job_id: str) -> None:
    for query in (
        "state=lost",
        "order=x",
        "after=x&state=failed",
        "after=--5&state=failed",
        "text=" + "x" * 1001,
    ):
        answer = site.browser.get(f"/jobs/{job_id}?{query}", headers={"Accept": "text/html"})
        assert (answer.status_code, answer.mimetype) == (422, "text/html")


def test_an_item_leads_back_to_the_place_in_the_list(site: Site, job_id: str) -> None:
    (link,) = re.findall(
        r'href="(/jobs/\w+/items/4[^"]*)"', site.look(f"/jobs/{job_id}?text=apple&state=failed")
    )
    item = site.look(html.unescape(link))
    back = re.search(r'id="back" href="([^"]+)"', item)
    assert back
    path, _, anchor = html.unescape(back[1]).partition("#")
    assert anchor == "item-4"
    assert rows(site, path) == [4]
    assert 'id="back" href="/jobs/' in (plain := site.look(f"/jobs/{job_id}/items/77"))
    assert "page=2#item-77" in plain


def test_next_and_previous_stay_in_the_list(site: Site, job_id: str) -> None:
    def step(index: int, way: str) -> tuple[int, str]:
        path = f"/jobs/{job_id}/items/{index}/{way}?text=apple"
        answer = site.browser.get(path)
        return answer.status_code, answer.location or ""

    assert step(14, "next") == (303, f"/jobs/{job_id}/items/24?text=apple")
    assert step(14, "previous") == (303, f"/jobs/{job_id}/items/4?text=apple")
    assert step(4, "previous")[0] == 404
    assert step(114, "next")[0] == 404


def test_an_item_is_gone_to_by_its_number(site: Site, job_id: str) -> None:
    for typed in ("77", " #77 "):
        answer = site.browser.get(f"/jobs/{job_id}/go", query_string={"item": typed})
        assert (answer.status_code, answer.location) == (303, f"/jobs/{job_id}/items/77")
    answer = site.browser.get(f"/jobs/{job_id}/go?item=")
    assert (answer.status_code, answer.location) == (303, f"/jobs/{job_id}")
    for typed in ("120", "-1", "x", "9" * 30):
        answer = site.browser.get(f"/jobs/{job_id}/go", query_string={"item": typed})
        assert answer.status_code == 404
        assert "0 to 119" in answer.text


def test_parameters_that_vary_are_columns(site: Site) -> None:
    items = [{"prompt": "a", "params": {"temperature": t, "top_p": 0.5}} for t in (0.25, 0.75)]
    job_id = site.post("/v1/jobs", json={"items": items, "params": {"top_p": 0.5}}).json["id"]
    text = site.look(f"/jobs/{job_id}")
    assert re.findall(r'<th class="param"><code>(\w+)</code>', text) == ["temperature"]
    assert re.findall(r'data-label="temperature">([\d.]+)<', text) == ["0.25", "0.75"]
    assert '<th class="param">' not in site.look(f"/jobs/{site.submit('a', 'b')}")


def test_what_a_streamed_item_says_is_shown_while_it_runs(site: Site) -> None:
    items = [{"prompt": "a", "stream": True}, {"prompt": "b"}]
    job_id = site.post("/v1/jobs", json={"items": items}).json["id"]
    site.worker().take()
    entry = b'[[0, 0, ["once ", "upon <b>"]]]'
    site.services.redis.sadd(keys.job(job_id, "streams"), 0)
    site.services.redis.rpush(keys.job(job_id, "events:0"), entry)
    for path in (f"/jobs/{job_id}", f"/jobs/{job_id}/items/0"):
        assert 'data-part="said-0-0">once upon &lt;b&gt;</div>' in site.look(path)
    site.services.redis.delete(keys.job(job_id, "streams"), keys.job(job_id, "events:0"))


def test_another_tenants_list_is_not_there(site: Site, job_id: str) -> None:
    site.services.api_keys.create_key("other")
    other = site.log_in("other")
    for path in (
        "",
        "?text=apple",
        "/go?item=1",
        "/items/4/next",
        "/items/4/next?text=a",
        "/cancel",
    ):
        assert other.get(f"/jobs/{job_id}{path}").status_code == 404


def test_a_page_of_long_texts_is_small_unless_all_of_them_are_wanted(site: Site) -> None:
    job_id = site.submit(*("long " * 90 for _ in range(50)))
    for _ in range(7):
        site.worker().run(text="word " * 5000)
    compact, full = (len(site.look(f"/jobs/{job_id}{query}")) for query in ("", "?rows=full"))
    assert compact < 90_000 < full
