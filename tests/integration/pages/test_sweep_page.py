"""The page of a sweep: parameters as columns, and the outputs of each row side by side."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.sweeps import made
from tests.support.web import Site

VARIED = {"temperature": [0, 0.7, 1.3]}


def text_of(html: str) -> str:
    """What is read, without tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def sweep(site: Site, *prompts: str, **job: Any) -> Any:
    return made(site, VARIED, list(prompts) or ["one", "two"], **job)


def test_it_has_each_job_with_its_parameters_and_files(site: Site) -> None:
    found = sweep(site, metadata={"name": "How <warm>?"})
    html = site.look(f"/sweeps/{found['id']}")
    assert "How &lt;warm&gt;?" in html
    assert "0 of 6 done in 3 jobs" in text_of(html)
    for job in found["jobs"]:
        assert f'href="/jobs/{job["id"]}"' in html
        assert f'href="/v1/jobs/{job["id"]}/results.csv"' in html
    assert html.count("<code>temperature</code>") == 1
    assert all(f">{value}</td>" in html for value in ("0.0", "0.7", "1.3"))


def test_outputs_of_a_row_stand_side_by_side(site: Site) -> None:
    found = sweep(site)
    worker = site.worker()
    for text in ("cold", "warm", "hot"):
        worker.run(2, text=text)
    html = site.look(f"/sweeps/{found['id']}")
    row = html[html.index('id="row-1"') :]
    assert re.findall(r"(cold|warm|hot) 1", row) == ["cold", "warm", "hot"]
    assert "two" in row


def test_other_rows_are_a_link_away_and_the_last_ones_too(site: Site) -> None:
    found = sweep(site, *(f"p{i}" for i in range(10)))
    path = f"/sweeps/{found['id']}"
    assert 'href="' + path + '?row=3"' in site.look(path)
    middle = site.look(f"{path}?row=4")
    assert all(f">p{i}</div>" in middle for i in (4, 5, 6))
    assert ">p3</div>" not in middle and ">p7</div>" not in middle
    last = site.look(f"{path}?row=9")
    assert ">p9</div>" in last and 'rel="next"' not in last


def test_with_many_jobs_fewer_rows_stand_on_a_page(site: Site) -> None:
    varied = {"temperature": list(range(8)), "top_k": list(range(8))}
    path = f"/sweeps/{made(site, varied, [f'p{i}' for i in range(10)])['id']}"
    html = site.look(path)
    assert html.count('class="card compared"') == 1
    assert html.count(">In full<") == 64
    assert f'href="{path}?row=1"' in html


@pytest.mark.parametrize("row", ["-1", "99999", "x", "", "1e9", "9" * 40])
def test_a_row_that_is_none_shows_one_that_is(site: Site, row: str) -> None:
    found = sweep(site)
    assert "Side by side" in site.look(f"/sweeps/{found['id']}?row={row}")


def test_texts_of_prompts_and_models_are_escaped(site: Site) -> None:
    found = sweep(site, "<script>alert(1)</script>")
    site.worker().run(text="<img src=x>")
    html = site.look(f"/sweeps/{found['id']}")
    assert "<script>alert" not in html and "<img src=x>" not in html
    assert "&lt;img src=x&gt; 0" in html


def test_the_columns_of_a_table_and_the_reference_stand_above_the_outputs(site: Site) -> None:
    names = ["", "text", "<b>", *(f"c{i}" for i in range(197))]
    item = {"vars": {name: f"value of {name}" for name in names}, "reference": ["gold", "old"]}
    body = {
        "items": [item],
        "template": {"prompt": "Say {{text}}"},
        "sweep": {"temperature": [0, 1]},
    }
    found = site.post("/v1/sweeps", json=body)
    assert found.status_code == 202, found.text
    html = site.look(f"/sweeps/{found.json['id']}")
    assert "value of text" in html, "what the template names comes first"
    assert "(no name)" in html and "&lt;b&gt;" in html
    assert "and 194 columns more" in text_of(html)
    assert '["gold", "old"]' in text_of(html).replace("&#34;", '"')


def test_its_button_cancels_all_jobs(site: Site) -> None:
    found = sweep(site)
    answer = site.browser.post(f"/sweeps/{found['id']}/cancel")
    assert (answer.status_code, answer.location) == (303, f"/sweeps/{found['id']}")
    html = site.look(f"/sweeps/{found['id']}")
    assert "6 cancelled" in text_of(html)
    assert "Cancel all jobs" not in html
    assert 'data-settled="yes"' in html


def test_a_deleted_job_leaves_the_page(site: Site) -> None:
    found = sweep(site)
    site.call("DELETE", f"/v1/jobs/{found['jobs'][1]['id']}")
    html = site.look(f"/sweeps/{found['id']}")
    assert "in 2 jobs" in text_of(html)
    assert ">0.7</td>" not in html


def test_the_page_of_a_job_leads_to_its_sweep(site: Site) -> None:
    found = sweep(site)
    assert f'href="/sweeps/{found["id"]}"' in site.look(f"/jobs/{found['jobs'][0]['id']}")


def test_another_tenants_sweep_is_not_found(site: Site) -> None:
    found = sweep(site)
    other = site.log_in("other")
    assert other.get(f"/sweeps/{found['id']}").status_code == 404
    assert other.post(f"/sweeps/{found['id']}/cancel").status_code == 404
    assert site.app.test_client().get(f"/sweeps/{found['id']}").status_code == 401


def test_sweeps_are_listed_and_their_jobs_found(site: Site) -> None:
    assert "No sweeps yet" in site.look("/sweeps")
    first = sweep(site, metadata={"name": "How <warm>?"})
    other = site.services.api_keys.create_key("other")
    made(site, VARIED, ["one"], key=other)
    page = site.look("/sweeps")
    assert page.count('<tr id="sweep_') == 1
    assert "How &lt;warm&gt;?" in page and "temperature: 3 values" in page
    assert f'href="/jobs?sweep={first["id"]}"' in page
    site.submit("a")
    jobs = site.look(f"/jobs?sweep={first['id']}&order=items")
    found = re.findall(r'<tr id="(job_\w+)">', jobs)
    assert sorted(found) == sorted(job["id"] for job in first["jobs"])
    assert f'<input type="hidden" name="sweep" value="{first["id"]}">' in jobs
    assert '<option value="items" selected>' in jobs


def test_the_list_of_sweeps_goes_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.pages.sweeps.SWEEPS", 2)
    ids = [sweep(site)["id"] for _ in range(3)]
    page = site.look("/sweeps")
    assert re.findall(r'<tr id="(sweep_\w+)">', page) == ids[:0:-1]
    more = re.search(r'href="(/sweeps\?[^"]+)" rel="next"', page)
    assert more
    assert re.findall(r'<tr id="(sweep_\w+)">', site.look(more[1])) == ids[:1]
    html = {"Accept": "text/html"}
    assert site.browser.get("/sweeps?after=sweep_0none", headers=html).status_code == 404
