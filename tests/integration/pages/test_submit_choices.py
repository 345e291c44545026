"""What the form takes for granted of a file, and where it says what is wrong with that."""

from __future__ import annotations

import html

import pytest

from tests.integration.pages.steps import held, hidden, press, selected, step
from tests.integration.pages.test_submit_files import error_at
from tests.support.web import Site

NAMED_LIKE_PARAMETERS = b"id,prompt,seed,n\na,one,x,1\nb,two,y,2\n"


def test_columns_named_like_parameters_are_data_until_somebody_says_otherwise(site: Site) -> None:
    page = step(site, "columns", ("t.csv", NAMED_LIKE_PARAMETERS))
    assert 'name="columns.params" value="on" aria-describedby' in page  # and is not checked
    typed = {**held(page), "columns.prompt": ":prompt"}
    assert press(site, "submit", **typed).status_code == 303
    refused = press(site, "submit", **typed, columns__params="on")
    assert refused.status_code == 422
    assert "Line 2" in error_at(refused.text, "columns.params")
    assert error_at(refused.text, "file") == ""
    checked = step(site, "check", **typed, columns__params="on")
    assert "params.seed" in error_at(checked, "columns.params")
    assert error_at(checked, "file") == ""


@pytest.mark.parametrize(
    ("ids", "chosen"),
    [(["1", "2"], ":id"), (["1", "1"], ""), (["1", ""], ""), (["1", "x" * 300], "")],
    ids=["unique", "repeated", "one is missing", "one is too long"],
)
def test_a_column_of_ids_is_chosen_only_where_every_row_can_have_its_id(
    site: Site, ids: list[str], chosen: str
) -> None:
    rows = "".join(f"{name};text\n" for name in ids)
    page = step(site, "columns", ("t.csv", f"id;prompt\n{rows}".encode()))
    assert selected(page, "columns.custom_id") == chosen
    assert press(site, "submit", **held(page), columns__prompt=":prompt").status_code == 303


def test_ids_that_repeat_are_refused_at_the_choice_of_the_ids(site: Site) -> None:
    page = step(site, "columns", ("t.csv", b"id,prompt\n1,a\n1,b\n1,c\n"))
    typed = {**held(page), "columns.prompt": ":prompt", "columns.custom_id": ":id"}
    for shown in (press(site, "submit", **typed).text, step(site, "check", **typed)):
        assert "Line 3" in error_at(shown, "columns.custom_id")
        assert error_at(shown, "file") == ""


def test_a_job_of_a_file_is_called_as_the_file_until_it_has_a_name(site: Site) -> None:
    for name, called in (("", "my table.csv"), ("mine", "mine")):
        page = step(site, "columns", ("my table.csv", b"id,prompt\n1,a\n"))
        made = press(site, "submit", **held(page), columns__prompt=":prompt", metadata__name=name)
        view = site.get(made.location.replace("/jobs", "/v1/jobs")).json
        assert view["metadata"] == {"name": called}
    made = press(site, "submit", prompts="one")
    assert site.get(made.location.replace("/jobs", "/v1/jobs")).json["metadata"] == {}


def test_pasted_prompts_are_there_again_when_the_file_is_removed(site: Site) -> None:
    page = step(site, "columns", ("t.csv", b"id,prompt\n1,a\n"), prompts="mine\nalone")
    typed = {**held(page), "prompts.kept": hidden(page, "prompts.kept")}
    page = step(site, "check", **typed, columns__prompt=":prompt")
    assert "This can be submitted." in page and "mine\nalone</textarea>" not in page
    typed = {**held(page), "prompts.kept": hidden(page, "prompts.kept")}
    assert "mine\nalone</textarea>" in step(site, "remove", **typed)


def test_a_template_that_misses_a_column_by_spaces_or_case_is_shown_the_name_in_quotes(
    site: Site,
) -> None:
    page = step(site, "columns", ("t.csv", b"id,Text \n1,a\n"))
    shown = step(site, "check", **held(page), template__text="Say {{Text}}", reads="text")
    assert "“Text ”" in error_at(shown, "template.text")


def test_a_job_filled_in_from_another_is_not_refused_before_anything_is_changed(
    site: Site,
) -> None:
    page = step(site, "columns", ("t.csv", b"id,text\n1,a\n2,\n"))
    typed = {**held(page), "template.text": "Say {{text}}", "reads": "text", "bad_rows": "fail"}
    made = press(site, "submit", **typed)
    job_id = made.location.rpartition("/")[2]
    form = {"like": job_id, "template.text": "Say {{text}}", "reads": "text", "action": "check"}
    for changed in ("Say {{text}}", "Please say {{text}}"):
        answer = site.browser.post(
            "/", data={**form, "template.text": changed}, headers={"Accept": "application/json"}
        )
        assert '"errors":{}' in answer.text and '"summary":"2 prompts' in answer.text
    answer = site.browser.post(
        "/", data={**form, "template.text": "{{other}}"}, headers={"Accept": "application/json"}
    )
    assert '"errors":{}' not in answer.text


def test_a_file_of_rows_without_prompts_is_told_what_to_do_once(site: Site) -> None:
    lines = b'{"q": "a"}\n{"q": "b"}\n{"q": "c"}\n'
    page = step(site, "columns", ("a.jsonl", lines))
    shown = step(site, "check", **held(page))
    said = html.unescape(shown)
    assert "give either prompt, prompt_ids or messages" not in said
    assert "choose the column that has the prompts" in error_at(shown, "columns.prompt")


def test_a_draft_has_a_size_unpacked_too(site: Site) -> None:
    for times, status in ((200_000, 413), (20_000, 303)):
        parts = (("action", "check"), ("prompts", "again and again\n" * times))
        head = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
        body = "".join(head.format(*part) for part in parts) + "--b--\r\n"
        answer = site.browser.post(
            "/", data=body.encode(), content_type="multipart/form-data; boundary=b"
        )
        assert answer.status_code == status
        said = error_at(answer.text, "prompts")
        assert ("put the prompts into a file" in said) == (status == 413)
