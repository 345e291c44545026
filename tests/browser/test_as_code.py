"""The job of the form as code: the curl command and the Python of the page make that very job."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from common.store.api_keys import ApiKeys
from common.store.jobs import JobStore
from tests.support.browser import BrowserSite

TABLE = 'id;text;gold\n007;"it\'s, said ""he""";a\n2;東京;b\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "it's a table.csv").write_text(TABLE, encoding="utf-8")
    (tmp_path / "prompts.txt").write_text("one\ntwo\nthree\nfour\nfive\n")
    return tmp_path


def newest(site: BrowserSite, tenant: str) -> tuple[dict[str, Any], Any, Any, Any]:
    """Options and items of the tenant's newest job."""
    store = JobStore(site.client)
    job = store.jobs(tenant, None, 1)[0][0]
    spec: dict[str, Any] = {**job.spec, "rendered_at": 0}
    items = store.items(job.id, 0, 10), store.side(job.id, 0, 10)
    return spec, store.prep(job.id), *items


def run_code(page: Page, mill: BrowserSite, tenant: str, folder: Path) -> None:
    """Run the curl command, then the Python, and compare each job with the form's."""
    page.get_by_text("The same as a command or in Python").click()
    curl, python = page.locator(".code-of code").all_inner_texts()
    page.get_by_role("button", name="Submit all").click()
    page.wait_for_url("**/jobs/job_*")
    made = newest(mill, tenant)
    key = ApiKeys(mill.client).create_key(tenant)
    for command in (["bash", "-ec", curl], [sys.executable, "-c", python]):
        before = JobStore(mill.client).jobs(tenant, None, 9)[0]
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PROMPTMILL_API_KEY": key, "NO_PROXY": "*", "no_proxy": "*"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert len(JobStore(mill.client).jobs(tenant, None, 9)[0]) == len(before) + 1, done
        assert newest(mill, tenant) == made


def test_a_table_with_an_instruction(page: Page, mill: BrowserSite, folder: Path) -> None:
    tenant = page.locator(".who span").inner_text()
    page.get_by_label("Or upload a file").set_input_files(folder / "it's a table.csv")
    page.get_by_label("Your own ids").select_option(":id")
    page.get_by_label("Reference answers").select_option(":gold")
    page.get_by_role("textbox", name="System message").fill('It\'s "short".')
    page.get_by_role("textbox", name="Instruction").fill("Say\n{{text}} {{{{x")
    page.get_by_text("Cleaning and length").click()
    page.get_by_label("Collapse white space").check()
    page.get_by_label("temperature", exact=True).fill("0.5")
    page.get_by_role("button", name="Preview", exact=True).click()
    expect(page.locator(".shown").first).to_contain_text('it\'s, said "he" {{x')
    run_code(page, mill, tenant, folder)


def test_a_few_prompts_that_are_asked(page: Page, mill: BrowserSite, folder: Path) -> None:
    tenant = page.locator(".who span").inner_text()
    page.get_by_label("Prompts to paste").fill('it\'s one\n東京 \\ "two"')
    page.get_by_label("max_tokens").fill("7")
    page.get_by_role("button", name="Check", exact=True).click()
    run_code(page, mill, tenant, folder)


def test_many_prompts_that_are_continued(page: Page, mill: BrowserSite, folder: Path) -> None:
    tenant = page.locator(".who span").inner_text()
    page.get_by_label("Prompts to paste").fill((folder / "prompts.txt").read_text())
    page.get_by_label("Continue the text").check()
    page.get_by_role("button", name="Check", exact=True).click()
    run_code(page, mill, tenant, folder)
