"""docs/api.md and docs/openai.md name every route and every error code there is."""

from __future__ import annotations

import re
from pathlib import Path

from common.settings import Settings
from web.app import create_app

ROOT = Path(__file__).parents[3]
NATIVE = (ROOT / "docs" / "api.md").read_text()
OPENAI = (ROOT / "docs" / "openai.md").read_text()
CODE = re.compile(r'(?:code="|Fault\("|: \(")([a-z_]+)"')


def test_every_code_that_the_web_tier_gives_is_explained() -> None:
    unexplained = {}
    for path in (ROOT / "web").rglob("*.py"):
        if path.parent.name == "pages":  # they answer no codes
            continue
        page = NATIVE + OPENAI if path.parent.name == "openai" else NATIVE
        if codes := {code for code in CODE.findall(path.read_text()) if f"`{code}`" not in page}:
            unexplained[path.name] = codes
    assert unexplained == {}


def test_every_route_is_listed() -> None:
    app = create_app(Settings.load())
    ends = {
        rule.rule.rsplit("/", 1)[-1]
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/v1/jobs/")
    }
    missing = {end for end in ends if "<" not in end and f"/{end}" not in NATIVE}
    assert not missing
