"""The form's steps: each keeps what was typed as a draft, stores a file once, and answers the whole
page, which can be loaded again."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest

from tests.integration.pages.steps import held, hidden, press, selected, step, stored_files
from tests.support.cards import card
from tests.support.web import Site

TABLE = 'id,text,reference\n1,"one, two",a\n007,=1+1,b\n'
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"


def test_a_file_is_stored_once_and_its_columns_are_shown(site: Site) -> None:
    # As browsers send it: inputs that are empty, too.
    empty = {"input_file": "", "template.text": "", "columns.custom_id": ""}
    page = step(site, "columns", ("a table.csv", TABLE.encode()), **empty)
    assert "a table.csv" in page and "one, two" in page and "=1+1" in page
    assert 'value="insert:text"' in page
    assert selected(page, "columns.custom_id") == ":id"
    assert selected(page, "columns.reference") == ":reference"
    again = step(site, "check", **held(page), columns__prompt=":text")
    assert hidden(again, "input_file") == hidden(page, "input_file")
    assert stored_files(site) == 1
    assert site.job_keys() == []


def test_the_page_of_a_step_can_be_loaded_again_and_belongs_to_its_tenant(site: Site) -> None:
    answer = press(site, "check", prompts="one two\nthree", params__temperature="0")
    first, second = site.look(answer.location), site.look(answer.location)
    assert "one two\nthree" in first and 'value="0"' in second
    assert "This can be submitted." in first and "This can be submitted." in second
    other = site.log_in("other").get(answer.location)
    assert "one two" not in other.text and "No draft" in other.text


def test_what_was_typed_is_there_after_a_login(site: Site) -> None:
    answer = press(site, "preview", prompts="mine alone")
    site.browser.post("/logout")
    assert site.browser.get(answer.location).status_code == 401
    site.browser = site.log_in("acme")
    assert "mine alone" in site.look(answer.location)


def test_enter_goes_to_the_next_step_and_submits_only_after_a_good_check(site: Site) -> None:
    page = step(site, "next", prompts="one")
    assert hidden(page, "step") == "check" and site.job_keys() == []
    made = press(site, "next", prompts="one", **held(page))
    assert "/jobs/job_" in made.location
    page = step(site, "next", prompts="one", params__n="0")
    assert hidden(page, "step") == "preview" and "must be at least 1" in page
    page = step(site, "next", ("t.csv", TABLE.encode()), columns__prompt=":text")
    assert hidden(page, "step") == "columns"
    for expected in ("preview", "check"):
        page = step(site, "next", **held(page), columns__prompt=":text")
        assert hidden(page, "step") == expected


def test_the_first_button_of_the_form_is_the_next_step(site: Site) -> None:
    page = site.look("/")
    assert re.findall(r"<button[^>]*>", page.partition('id="submit"')[2])[0].count('"next"') == 1


def test_a_check_lists_every_bad_line_with_its_text(site: Site) -> None:
    lines = b'{"prompt": "fine"}\n{"prompt": "", "custom_id": "zwei"}\n{"promt": "misspelt"}\n'
    page = html.unescape(step(site, "check", ("a.jsonl", lines)))
    assert "2 lines cannot run" in page
    table = page.partition('aria-label="Lines that cannot run"')[2].partition("</table>")[0]
    assert [int(line) for line in re.findall(r'<td class="num">(\d+)</td>', table)] == [2, 3]
    assert "zwei" in table and "misspelt" in table
    assert "promt is not known; did you mean prompt?" in table


def test_a_check_says_what_is_ahead(site: Site) -> None:
    assert "nothing of yours" in step(site, "check", prompts="one")
    site.submit("a b c", params={"max_tokens": 7})
    assert "1 item of yours, up to 10 tokens" in step(site, "check", prompts="one")


def test_a_table_becomes_a_job_with_its_columns_and_ids(site: Site) -> None:
    page = step(site, "columns", ("t.csv", TABLE.encode()))
    typed = {
        **held(page),
        "columns.custom_id": ":id",
        "columns.reference": ":reference",
        "template.text": "Repeat {{ text }}!",
        "reads": "text",
        "clean.whitespace": "on",
    }
    preview = html.unescape(step(site, "preview", **typed))
    assert "Repeat one, two!" in preview and ">4 tokens" not in preview and "3 tokens" in preview
    made = press(site, "submit", **typed)
    job_id = made.location.rpartition("/")[2]
    rows = site.get(f"/v1/jobs/{job_id}/items").json["data"]
    assert [row["custom_id"] for row in rows] == ["1", "007"]
    assert [row["vars"]["text"] for row in rows] == ["one, two", "=1+1"]
    assert [row["reference"] for row in rows] == ["a", "b"]
    again = site.look(f"/?like={job_id}")
    assert "The 2 items of" in again and "Repeat {{ text }}!" in html.unescape(again)
    changed: dict[str, Any] = {
        "like": job_id,
        "template.text": "Say {{text}} {{id}}",
        "reads": "text",
    }
    third = press(site, "submit", **changed).location.rpartition("/")[2]
    (row, _) = site.get(f"/v1/jobs/{third}/items").json["data"]
    assert (row["custom_id"], row["vars"]["text"], row["reference"]) == ("1", "one, two", "a")
    assert 'name="clean.whitespace" value="on" checked' in again


def test_a_template_that_names_no_column_is_said_at_the_template(site: Site) -> None:
    page = step(site, "columns", ("t.csv", TABLE.encode()))
    typed = {"template.text": "Say {{body}} and {{text}}", "reads": "text"}
    for action in ("preview", "check"):
        page = html.unescape(step(site, action, **{**held(page), **typed}))
        at = page.partition('data-errors="template.text"')[2].partition("</div>")[0]
        assert "{{body}}" in at and "id, text, reference" in at


def test_the_preview_shows_the_first_the_longest_and_the_first_faulty_row(site: Site) -> None:
    rows = [f"{number},word\n" for number in range(5)]
    rows[2], rows[4] = "2,\n", "4,many more words here\n"
    page = step(site, "columns", ("t.csv", ("id,text\n" + "".join(rows)).encode()))
    typed = {"template.text": "Say {{text}}", "reads": "text"}
    shown = html.unescape(step(site, "preview", **{**held(page), **typed}))
    found = re.findall(r"<h3>(.*?) <span class=\"soft\">· line (\d+)</span>", shown)
    assert found == [("First", "2"), ("Longest", "6"), ("First that cannot run", "4")]
    assert "Say many more words here" in shown and "{{text}}, which has no value" in shown


def test_another_file_takes_the_place_of_the_one_before(site: Site) -> None:
    page = step(site, "columns", ("a.csv", TABLE.encode()), template__text="{{text}}")
    page = step(site, "columns", ("b.csv", b"id,body\n1,x\n"), **held(page))
    assert "b.csv" in page and "a.csv" not in page and 'value="insert:body"' in page
    assert stored_files(site) == 1
    page = step(site, "remove", **held(page))
    assert hidden(page, "input_file") == "" and 'name="prompts"' in page
    assert stored_files(site) == 0


def test_a_file_that_is_gone_is_said_at_the_file(site: Site) -> None:
    page = step(site, "columns", ("a.csv", TABLE.encode()))
    site.services.files.delete(hidden(page, "input_file"), "acme")
    for action in ("submit", "try"):
        answer = press(site, action, **held(page))
        assert answer.status_code == 422
        assert re.search(r'data-errors="file">\s*<p>No file', answer.text)


def test_another_tenants_file_is_not_read(site: Site) -> None:
    page = step(site, "columns", ("a.csv", TABLE.encode()))
    mine, site.browser = site.browser, site.log_in("other")
    answer = press(site, "submit", input_file=hidden(page, "input_file"))
    assert answer.status_code == 422 and "one, two" not in answer.text
    site.browser = mine


@pytest.mark.parametrize(
    ("column", "fits"),
    [("text", True), ("two words", True), ("a}}b", False), ("{{x", False), (" padded", False)],
)
def test_a_column_is_inserted_where_a_template_can_name_it(
    site: Site, column: str, fits: bool
) -> None:
    table = f'"{column}",other\n1,2\n'.encode()
    page = step(site, "columns", ("a.csv", table), template__text="Say ")
    button = re.search(rf'<button class="chip"[^>]*value="insert:{re.escape(column)}"[^>]*>', page)
    assert button and ("disabled" in button[0]) is not fits
    page = step(site, f"insert:{column}", **held(page), template__text="Say ")
    assert f"Say {{{{{column}}}}}" in html.unescape(page)


def test_a_preset_fills_the_form_in(site: Site) -> None:
    page = step(site, "preset", prompts="a text", preset="summarise")
    assert "Summarise the following text" in page and "{{text}}" in page
    assert hidden(page, "preset.used") == "summarise@1"
    refused = press(site, "preset", prompts="a text", preset="nothing")
    assert refused.status_code == 404 and "no preset" in html.unescape(refused.text)


def test_prompts_are_asked_where_nobody_chose_and_the_model_has_chats(site: Site) -> None:
    site.services.fleet.publish(card("chatty", chat_template=TEMPLATE), b"")
    site.worker(site.services.fleet.model("chatty"))
    assert 'value="chat" checked' in site.look("/")
    page = step(site, "check", prompts="capital of Japan?", model="echo", reads="text")
    assert 'value="text" checked' in page


def test_the_echo_engine_is_the_last_live_model(site: Site) -> None:
    for name, engine in (("echo", "echo"), ("zeta", "native")):
        site.services.fleet.publish(card(name, engine=engine), b"")
        site.worker(site.services.fleet.model(name))
    models = site.look("/").partition('id="model"')[2].partition("</select>")[0]
    assert re.findall(r'option value="(\w+)"', models)[:2] == ["zeta", "echo"]


def test_a_job_of_any_size_is_run_again_with_all_its_items(site: Site) -> None:
    prompts = [f"number {number}" for number in range(450)]
    job_id = site.submit(*prompts, params={"temperature": 0.5})
    page = site.look(f"/?like={job_id}")
    assert "The 450 items of" in page and hidden(page, "like") == job_id
    assert "450" in step(site, "check", like=job_id)
    made = press(site, "submit", like=job_id, params__temperature="0.25")
    again = made.location.rpartition("/")[2]
    found = site.services.store.items(again, 0, 500)
    assert [item["prompt"] for item in found] == prompts
    view = site.get(f"/v1/jobs/{again}").json
    assert (view["params"], view["rerun_of"]) == ({"temperature": 0.25}, job_id)


WRONG_SWEEPS: list[tuple[dict[str, Any], str]] = [
    ({"sweep.values": "1"}, "Choose the parameter"),
    ({"sweep.name": "temperature"}, "Type its values"),
    ({"sweep.name": "temperature", "sweep.values": "warm"}, "is not a number"),
    ({"sweep.name": "n", "sweep.values": "0\n1"}, "must be at least 1"),
    ({"sweep.name": "seed", "sweep.values": "\n".join(map(str, range(65)))}, "65 combinations"),
]


def test_several_values_make_a_sweep(site: Site) -> None:
    sweep: dict[str, Any] = {"sweep.name": "temperature", "sweep.values": "0\r\n.5\r\n\r\n1"}
    made = press(site, "submit", prompts="one\ntwo", token="t", **sweep)
    assert "/sweeps/sweep_" in made.location
    view = site.get(made.location.replace("/sweeps", "/v1/sweeps")).json
    assert [job["params"] for job in view["jobs"]] == [
        {"temperature": 0.0},
        {"temperature": 0.5},
        {"temperature": 1.0},
    ]
    again = press(site, "submit", prompts="one\ntwo", token="t", **sweep)
    assert again.location == made.location
    assert "/jobs/job_" in press(site, "try", prompts="one", **sweep).location
    for name, says in (("output", "output is varied through the API"), ("x", "no parameter x")):
        refused = press(site, "submit", prompts="one", sweep__name=name, sweep__values="1")
        at = html.unescape(refused.text).partition('data-errors="sweep.name"')[2]
        assert refused.status_code == 422 and says in at.partition("</div>")[0], says
    for wrong, says in WRONG_SWEEPS:
        refused = press(site, "submit", prompts="one", **wrong)
        at = html.unescape(refused.text).partition('data-errors="sweep.values"')[2]
        assert refused.status_code == 422 and says in at.partition("</div>")[0], says


def test_the_check_shows_a_bad_chat_as_text(site: Site) -> None:
    said = {"role": "user", "content": "Is it's <true>?"}
    calls = {"role": "assistant", "content": None, "tool_calls": [{"none": True}]}
    rows: list[Any] = [[said, calls], [7, None, {"content": [{"a": None}]}], {"k": [None]}]
    lines = [json.dumps({"messages": row, "params": {"n": 0}}) for row in rows]
    page = html.unescape(step(site, "check", ("c.jsonl", "\n".join(lines).encode())))
    part = page[page.index('data-part="check"') :]
    assert re.findall(r"<code>(.*?)</code></td></tr>", part) == [
        """user: Is it's <true>? · assistant: [{"none": true}]""",
        """?: 7 · ?: [{"a": null}]""",
        "k: [null]",
    ]


def test_too_much_for_a_draft_is_said(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.store.form_drafts.MOST_BYTES", 60)
    answer = press(site, "check", prompts="".join(map(chr, range(1000, 3000))))
    assert answer.status_code == 413 and "put the prompts into a file" in answer.text
    assert press(site, "submit", prompts="".join(map(chr, range(1000, 3000)))).status_code == 303


def test_a_table_without_prompts_is_told_of_in_the_forms_own_words(site: Site) -> None:
    page = step(site, "check", ("t.csv", b"id,body\n1,x\n"))
    assert "There is no column named prompt: choose the column that has the prompts" in page
    assert "prompt_column" not in page and "columns.prompt (" not in page
