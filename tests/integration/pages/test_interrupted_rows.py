"""The page and the JSON of an item that was interrupted say how it went on."""

from __future__ import annotations

from typing import get_args

import pytest

from common.result_row import ResumedOn
from tests.support.web import Site

WORDS = {
    "other_kernels": "on another kind of processor than it began on",
    "other_draws": "from a checkpoint, with other random numbers",
    "from_start": "anew from its prompt",
}


@pytest.mark.parametrize("value", get_args(ResumedOn))
def test_an_item_says_how_it_went_on(site: Site, value: ResumedOn) -> None:
    job_id = site.submit("a", "b")
    said = {"outputs": [{"text": "yes"}]}
    site.worker().hand_in(said | {"resumed_on": value}, said)
    assert WORDS[value] in site.look(f"/jobs/{job_id}/items/0")
    assert "Continued" not in site.look(f"/jobs/{job_id}/items/1")
    items = site.get(f"/v1/jobs/{job_id}/items").json["data"]
    assert [each.get("resumed_on") for each in items] == [value, None]
