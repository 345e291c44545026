"""Presses the buttons of the submit form, and reads the page that they lead to."""

from __future__ import annotations

import html
import io
import re
from typing import Any, cast

from tests.support.web import Answer, Site


def press(site: Site, action: str, file: tuple[str, bytes] | None = None, **typed: Any) -> Answer:
    form: dict[str, Any] = {name.replace("__", "."): text for name, text in typed.items()}
    if file:
        form["file"] = (io.BytesIO(file[1]), file[0])
    return cast(Answer, site.browser.post("/", data={"action": action, **form}))


def step(site: Site, action: str, file: tuple[str, bytes] | None = None, **typed: Any) -> str:
    """The page that a step shows."""
    answer = press(site, action, file, **typed)
    assert answer.status_code == 303, answer.text
    return site.look(answer.location)


def hidden(page: str, name: str) -> str:
    found = re.search(rf'type="hidden" name="{re.escape(name)}" value="([^"]*)"', page)
    assert found, name
    return html.unescape(found[1])


def selected(page: str, name: str) -> str:
    select = re.search(rf'name="{re.escape(name)}".*?</select>', page, re.S)
    assert select
    chosen = re.search(r'value="([^"]*)" selected', select[0])
    return html.unescape(chosen[1]) if chosen else ""


def stored_files(site: Site) -> int:
    return len(site.services.redis.keys("pm:file:*:data"))


def held(page: str) -> dict[str, Any]:
    return {name: hidden(page, name) for name in ("input_file", "draft", "step")}
