"""Files of every kind in the form, honest and hostile: shown, or refused at their field."""

from __future__ import annotations

import html
import io
import re
import threading

import pandas as pd
import pytest

from tests.integration.pages.steps import held, hidden, press, selected, step
from tests.support.uploads import table
from tests.support.web import Site


def error_at(page: str, name: str) -> str:
    at = re.search(rf'data-errors="{re.escape(name)}"[^>]*>(.*?)</div>', page, re.S)
    return html.unescape(at[1]).strip() if at else ""


def xlsx(**sheets: list[list[str]]) -> bytes:
    sink = io.BytesIO()
    with pd.ExcelWriter(sink) as writer:
        for name, rows in sheets.items():
            pd.DataFrame(rows[1:], columns=rows[0]).to_excel(writer, sheet_name=name, index=False)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"\xef\xbb\xbfid;text\r\n1;x\r\n", "CSV, cells parted by semicolons, UTF-8"),
        ("a.tsv", b"id\ttext\n1\tx\n", "TSV, cells parted by tabs, UTF-8"),
        ("a.csv", "id,text\n1,漢\n".encode("utf-16"), "CSV, cells parted by commas, UTF-16"),
        ("a.jsonl", b'{"id": 1, "text": "x"}\n', "JSONL, 2 columns"),
        ("a.parquet", table(id=[1], text=["x"]), "PARQUET, 2 columns"),
        ("a.xlsx", xlsx(First=[["id", "text"], ["1", "x"]]), "XLSX, sheet First, 2 columns"),
        ("a.txt", b"one\ntwo\n", "TXT, UTF-8, 1 column"),
    ],
)
def test_the_format_of_a_file_is_found(site: Site, name: str, content: bytes, words: str) -> None:
    page = step(site, "columns", (name, content))
    assert words in page
    assert 'value="insert:text"' in page


def test_the_format_can_be_changed(site: Site) -> None:
    page = step(site, "columns", ("a.csv", b"a;b,c;d\n1;2,3;4\n"), format__delimiter="comma")
    assert "3 columns" in page  # what was chosen for another file is not for this one
    page = step(site, "columns", **held(page), format__delimiter="comma")
    assert "parted by commas" in page and 'value="insert:b"' not in page
    sheets = xlsx(One=[["id"], ["1"]], Two=[["text"], ["deux"]])
    page = step(site, "columns", ("a.xlsx", sheets))
    assert "sheet One" in page
    page = step(site, "columns", **held(page), format__sheet="Two")
    assert "sheet Two" in page and "deux" in page and selected(page, "format.sheet") == "Two"
    page = step(site, "columns", ("b.xlsx", sheets), **held(page), format__sheet="Two")
    assert "sheet One" in page


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.pdf", b"%PDF", "the file's name must say its format"),
        ("a.xls", b"x", "save the table as .xlsx or .csv"),
        ("a.csv", b"a,a\n1,2\n", "a"),
        ("a.csv", b'"a,b\n', "not closed"),
        ("a.csv", b"a,\xff\n", "not valid UTF-8"),
        ("a.xlsx", b"no zip", "XLSX"),
        ("a.parquet", b"PAR1", "Parquet"),
        ("a.csv", b"x" * 300 + b"\n1\n", "256"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_at_its_field(
    site: Site, name: str, content: bytes, says: str
) -> None:
    for action in ("columns", "preview", "check"):
        assert says in error_at(step(site, action, (name, content)), "file")
    refused = press(site, "submit", (name, content))
    assert refused.status_code == 422 and says in error_at(refused.text, "file")
    assert site.job_keys() == []


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"a,b\n", b"\0,\0\n\0,\0\n", b',x\n"",{{y}}\n', b"a\n" + b"\0" * 99]
)
def test_odd_files_never_break_the_page(site: Site, content: bytes) -> None:
    page = step(site, "columns", ("a.csv", content))
    for action in ("preview", "check"):
        step(site, action, **held(page), template__text="{{a}} {{}}", reads="text")


def test_a_column_without_a_name_is_a_column(site: Site) -> None:
    page = step(site, "columns", ("a.csv", b",x\n5,y\n"))
    assert "(no name)" in page
    typed = {"template.text": "Say {{}}", "reads": "text", "columns.custom_id": ":"}
    made = press(site, "submit", **{**held(page), **typed})
    (row,) = site.get(f"/v1/jobs/{made.location.rpartition('/')[2]}/items").json["data"]
    assert (row["custom_id"], row["vars"]) == ("5", {"": "5", "x": "y"})


def test_two_hundred_columns_make_a_page_of_bounded_size(site: Site) -> None:
    names = [f"column number {number}" for number in range(200)]
    content = "\n".join([",".join(names), ",".join(["x" * 500] * 200)]).encode()
    page = step(site, "check", ("a.csv", content), template__text="{{column number 7}}")
    assert "This can be submitted." in page or "cannot run" in page
    assert len(page) < 300_000


def test_bad_rows_stay_where_that_is_wished(site: Site) -> None:
    content = b"id,text\n1,one\n2,\n3,three\n"
    typed = {"template.text": "Say {{text}}", "reads": "text"}
    page = step(site, "check", ("a.csv", content), **typed)
    assert "1 line cannot run" in page
    kept = {**held(page), **typed, "bad_rows": "fail"}
    page = step(site, "check", **kept)
    assert (
        "This can be submitted." in page and "1 line cannot run and will be a failed item" in page
    )
    assert "{{text}}, which has no value" in page.partition("Lines that cannot run")[2]
    assert "Please correct" not in page and "aria-invalid" not in page
    made = press(site, "submit", **kept)
    view = site.get(made.location.replace("/jobs", "/v1/jobs")).json
    assert view["counts"]["total"] == 3


def test_a_step_without_anything_says_what_is_missing(site: Site) -> None:
    for action in ("preview", "check", "next"):
        assert "There is no prompt yet" in error_at(step(site, action, prompts=" "), "prompts")


def test_steps_at_the_same_time_keep_a_draft_of_one_of_them(site: Site) -> None:
    page = step(site, "columns", ("a.csv", b"id,text\n1,one\n"))
    draft = held(page)
    browsers = [site.log_in("acme") for _ in range(6)]
    statuses: list[int] = []

    def send(number: int) -> None:
        form = {"action": "preview", **draft, "template.text": f"{number} {{{{text}}}}"}
        statuses.append(browsers[number].post("/", data=form).status_code)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [303] * 6
    shown = site.look(f"/?draft={hidden(page, 'draft')}&step=preview")
    assert re.search(r"\d one", shown)
