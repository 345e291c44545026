"""Laws of the form: what goes in comes out as a job, what is wrong is said next to its field,
trying costs nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.support.browser import Console


def finished(page: Page) -> None:
    expect(page.locator("[data-terminal=yes]")).to_be_visible(timeout=20_000)


def outputs(page: Page) -> list[str]:
    return page.locator(".items .output .text").all_inner_texts()


def test_pasted_prompts_become_a_job_that_fills_in(page: Page) -> None:
    page.get_by_label("Prompts to paste").fill("one two three\nfour five\n\n  six  \n")
    page.get_by_label("temperature").fill("0")
    page.get_by_label("Name of the job").fill("Numbers")
    page.get_by_role("button", name="Submit all").click()
    page.wait_for_url("**/jobs/job_*")
    finished(page)
    assert outputs(page) == ["one two three", "four five", "six"]
    expect(page.get_by_role("heading", level=1)).to_have_text("Numbers")
    expect(page.locator(".given")).to_contain_text("temperature")


def test_prompts_are_asked_unless_the_model_has_no_chats(page: Page, sleeping_model: str) -> None:
    page.reload()
    asked, continued = page.get_by_label("Ask the model"), page.get_by_label("Continue the text")
    model = page.get_by_label("Model", exact=True)
    expect(asked).to_be_checked()
    model.select_option(sleeping_model)
    expect(continued).to_be_checked()
    model.select_option("echo")
    expect(asked).to_be_checked()
    continued.check()
    model.select_option(sleeping_model)
    model.select_option("echo")
    expect(continued).to_be_checked()


def test_paragraphs_may_have_lines(page: Page) -> None:
    page.get_by_label("Prompts to paste").fill("first line\nsecond line\n\n\nanother prompt")
    page.get_by_label("Paragraphs separated by an empty line").check()
    page.get_by_label("temperature").fill("0")
    page.get_by_role("button", name="Submit all").click()
    finished(page)
    assert page.locator(".items .prompt .text").all_inner_texts() == [
        "first line\nsecond line",
        "another prompt",
    ]


def test_counts_are_shown_while_typing(page: Page) -> None:
    page.get_by_label("Prompts to paste").fill("one two three\nfour five")
    page.get_by_label("max_tokens").fill("10")
    expect(page.locator("#count")).to_have_text(
        "2 prompts · 5 prompt tokens · at most 20 to generate"
    )


def test_jsonl_csv_and_text_are_uploaded(
    page: Page, tmp_path: Path, jsonl: Callable[[list[dict]], Path]
) -> None:
    table = tmp_path / "table.csv"
    table.write_text("id,prompt\n1,red green\n2,blue\n")
    text = tmp_path / "lines.txt"
    text.write_text("sun moon\nstars\n")
    items = jsonl(
        [
            {"prompt": "cat dog", "custom_id": "pets", "params": {"temperature": 0}},
            {"prompt": "owl"},
        ]
    )
    for path, expected in (
        (items, ["cat dog", "owl"]),
        (text, ["sun moon", "stars"]),
    ):
        page.goto("/")
        page.get_by_label("Or upload a file").set_input_files(path)
        page.get_by_label("temperature").fill("0")
        expect(page.locator("#count")).to_contain_text("2 prompts")
        page.get_by_role("button", name="Submit all").click()
        page.wait_for_url("**/jobs/job_*")
        finished(page)
        assert outputs(page) == expected


def test_a_dropped_file_is_chosen(page: Page) -> None:
    page.evaluate(
        """() => {
          const dropped = new DataTransfer();
          dropped.items.add(new File(["sun moon\\nstars\\n"], "lines.txt"));
          document.getElementById("drop").dispatchEvent(
            new DragEvent("drop", {dataTransfer: dropped, bubbles: true}));
        }"""
    )
    expect(page.locator("#count")).to_contain_text("2 prompts · 3 prompt tokens")


def test_the_first_three_are_tried_without_leaving_the_form(
    page: Page, jsonl: Callable[[list[dict]], Path]
) -> None:
    page.get_by_label("Or upload a file").set_input_files(
        jsonl([{"prompt": f"number {i}"} for i in range(7)])
    )
    page.get_by_label("temperature").fill("0")
    page.get_by_role("button", name="Try the first 3").click()
    trial = page.locator("#trial")
    expect(trial.locator("[data-terminal=yes]")).to_be_visible()
    assert trial.locator(".output .text").all_inner_texts() == ["number 0", "number 1", "number 2"]
    page.get_by_role("button", name="Submit all").click()  # the file is still chosen
    page.wait_for_url("**/jobs/job_*")
    finished(page)
    assert len(outputs(page)) == 7


def test_what_is_wrong_is_said_next_to_its_field(page: Page) -> None:
    page.get_by_label("Prompts to paste").fill("hello")
    for name, typed, message in (
        ("top_p", "1.5", "must be at most 1, not 1.5"),
        ("max_tokens", "many", "“many” is not a whole number"),
        ("temperature", "-1", "must be at least 0, not -1"),
    ):
        field = page.get_by_label(name, exact=True)
        field.fill(typed)
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_accessible_description(re.compile(re.escape(message)))
        field.fill("")
        expect(field).not_to_have_attribute("aria-invalid", "true")


def test_a_refused_submit_keeps_the_file_and_names_its_lines(
    page: Page, console: Console, jsonl: Callable[[list[dict]], Path]
) -> None:
    console.expect_status(422)
    path = jsonl([{"prompt": "fine"}, {"prompt": "twice", "custom_id": "a"}, {"promt": "typo"}])
    page.get_by_label("Or upload a file").set_input_files(path)
    page.get_by_role("button", name="Submit all").click()
    errors = page.locator("[data-errors=file]")
    expect(errors).to_contain_text("Line 3: promt is not known; did you mean prompt?")
    expect(page.locator("#stored")).to_contain_text("prompts.jsonl")
    assert "/jobs/" not in page.url


def test_nothing_is_submitted_without_prompts(page: Page, console: Console) -> None:
    console.expect_status(422)
    page.get_by_role("button", name="Submit all").click()
    expect(page.locator("[data-errors=prompts]")).to_contain_text("There is no prompt yet")
    page.goto("/jobs")
    expect(page.get_by_text("No jobs yet.")).to_be_visible()


def test_run_again_fills_the_form_in(page: Page) -> None:
    page.get_by_label("Prompts to paste").fill("one\ntwo")
    page.get_by_text("More parameters").click()
    page.get_by_label("stop", exact=True).fill("\\n\\n\nend")
    page.get_by_role("button", name="Submit all").click()
    finished(page)
    page.get_by_role("link", name="Run again").click()
    expect(page.get_by_label("Prompts to paste")).to_have_value("one\ntwo")
    expect(page.get_by_label("stop", exact=True)).to_have_value("\\n\\n\nend")


def test_who_is_logged_out_meanwhile_is_asked_to_log_in_and_keeps_what_was_typed(
    page: Page, console: Console
) -> None:
    console.expect_status(401)
    page.get_by_label("Prompts to paste").fill("one two\nthree")
    expect(page.locator("#count")).to_contain_text("2 prompts")
    page.context.clear_cookies()
    for button in ("Submit all", "Check"):
        page.get_by_role("button", name=button, exact=True).click()
        said = page.locator("#general-errors")
        expect(said).to_contain_text("You are logged out")
        expect(said.get_by_role("link", name="Log in")).to_have_attribute("target", "_blank")
        expect(page.get_by_label("Prompts to paste")).to_have_value("one two\nthree")
