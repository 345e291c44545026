"""What somebody does who has a spreadsheet: chooses the file, writes an instruction, and compares
what comes back with what was sent."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from playwright.sync_api import Page, expect

ROWS = 5000
ODD = ["-3", "007", "=1+1", "+886 2", "{{other}}", 'said "so", then\nleft', "東京は、首都", " x "]
FAULTY = 17  # rows whose text makes the engine fail


def frame(rows: int = ROWS, faulty: int = FAULTY) -> pd.DataFrame:
    """Cells of all kinds that spreadsheets spoil, and columns named like parameters."""
    texts = [f"{ODD[i % len(ODD)]} of row {i}" for i in range(rows)]
    for row in range(faulty if rows == ROWS else 0):
        texts[row * 250 + 3] = f"boom {row}"
    return pd.DataFrame(
        {
            "": range(rows),
            "id": [f"{i:05d}" for i in range(rows)],
            "text": texts,
            "reference": [ODD[i % len(ODD)] for i in range(rows)],
            "status": ["open"] * rows,
            "n": [str(i % 9) for i in range(rows)],
            "seed": [f"0{i % 7}" for i in range(rows)],
        }
    )


def choose(page: Page, path: Path) -> None:
    page.goto("/")
    page.get_by_label("Or upload a file").set_input_files(path)
    expect(page.get_by_role("heading", name="Columns")).to_be_visible()


def instruct(page: Page, text: str = "Repeat: ", column: str = "text") -> None:
    page.get_by_role("textbox", name="Instruction").fill(text)
    chips = page.get_by_role("group", name="Insert a column")
    chips.get_by_role("button", name=column, exact=True).click()


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def compare(
    results: pd.DataFrame,
    table: pd.DataFrame,
    *,
    guarded: bool,
    fails: Callable[[str], bool] = lambda _text: False,
) -> None:
    """The results have the columns of the table, with its cells, and merge with it; rows failed
    whose text `fails`."""
    sent = table.astype(str)
    names = ["Unnamed: 0", *sent.columns[1:]]
    sent.columns = pd.Index(names)
    assert list(results.columns[: len(names)]) == names
    assert all(name.startswith("pm_") for name in results.columns[len(names) :])
    if guarded:
        unguarded = results[names].map(lambda cell: re.sub(r"^'(?=[=+@-])", "", cell))
        results = pd.concat([unguarded, results[results.columns[len(names) :]]], axis=1)
    merged = sent.merge(results, on="id", how="outer", validate="one_to_one", indicator=True)
    assert (merged["_merge"] == "both").all() and len(merged) == len(sent)
    for name in names:
        if name != "id":
            assert (merged[f"{name}_x"] == merged[f"{name}_y"]).all(), name
    expected = ["failed" if fails(text) else "succeeded" for text in merged["text_x"]]
    assert list(merged["pm_status"]) == expected
