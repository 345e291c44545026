"""A table of 5,000 rows through the pages on a real model: `make proof`. It takes a quarter of an
hour, so that it runs only when it is asked for."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from common.model_names import DEMO_MODEL
from tests.support.browser import BrowserSite, running_site
from tests.support.spreadsheet import ROWS, choose, compare, frame, instruct, press

pytestmark = [
    pytest.mark.skipif(os.environ.get("PROOF") != "1", reason="only for `make proof`"),
    pytest.mark.timeout(7200),
]
HOUR = 3_600_000  # ms
SLOTS = 16


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory, demo_model: Path) -> Iterator[BrowserSite]:
    """A worker that is lost once takes the rows that it runs with it."""
    cache, folder = demo_model.parents[1], tmp_path_factory.mktemp("mill")
    settings = {"model": DEMO_MODEL, "cache": cache, "slots": SLOTS, "max_attempts": 1}
    with running_site(folder, loading=300, **settings) as site:
        yield site


def test_a_table_of_5000_rows_comes_back_from_the_demo_model(
    page: Page, mill: BrowserSite, tmp_path: Path
) -> None:
    began = time.monotonic()
    table, sent = tmp_path / "客戶 reviews.csv", frame(faulty=0)
    sent.to_csv(table, index=False)
    choose(page, table)
    instruct(page)
    page.get_by_label("max_tokens").fill("4")
    page.get_by_label("temperature", exact=True).fill("0")
    press(page, "Preview")
    expect(page.locator(".shown").first).to_contain_text("Repeat: -3 of row 0")
    press(page, "Submit all")
    page.wait_for_url("**/jobs/job_*", timeout=HOUR)
    job = page.url
    lose_worker_with_rows(page, mill)
    expect(page.locator("[data-terminal=yes]")).to_be_visible(timeout=HOUR)
    seconds = time.monotonic() - began
    page.locator(".counts").get_by_role("link", name="failed").click()
    failed = page.locator("table.items tbody tr").count()
    assert failed > 0
    press(page, "Retry failed items")
    expect(page.get_by_text("Retries the failed items of")).to_be_visible()
    expect(page.locator("[data-terminal=yes]")).to_be_visible(timeout=HOUR)
    page.goto(job)
    with page.expect_download() as caught:
        page.get_by_role("link", name="Download CSV").click()
    exact = page.context.request.get(f"{caught.value.url}&guard=0").body()
    for content, guarded in ((caught.value.path().read_bytes(), True), (exact, False)):
        results = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
        compare(results, sent, guarded=guarded)
        assert (results["pm_text"] != "").mean() > 0.9
    print(f"{ROWS:,} rows in {seconds:.0f} s; {failed} failed with a worker and were retried")


def lose_worker_with_rows(page: Page, mill: BrowserSite) -> None:
    """Kill the worker when it has done some rows and holds others, and start another."""
    expect(page.locator(".counts")).to_contain_text("succeeded", timeout=HOUR)
    expect(page.locator(".counts")).to_contain_text("running", timeout=HOUR)
    mill.lose_worker()
    expect(page.locator(".counts")).to_contain_text("failed", timeout=HOUR)
