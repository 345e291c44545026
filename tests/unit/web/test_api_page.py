"""docs/api.md names every route and every error code there is."""

from __future__ import annotations

import re

from common.settings import Settings
from tests.support.processes import ROOT
from web.app import create_app

PAGE = (ROOT / "docs" / "api.md").read_text()


def test_every_code_that_the_web_tier_gives_is_explained() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "web").glob("*.py"))
    codes = re.findall(r'(?:code="|Fault\("|: \(")([a-z_]+)"', sources)
    assert [code for code in set(codes) if code not in PAGE] == []


def test_every_route_is_listed() -> None:
    app = create_app(Settings.load())
    ends = {
        rule.rule.rsplit("/", 1)[-1]
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/v1/jobs/")
    }
    missing = {end for end in ends if "<" not in end and f"/{end}" not in PAGE}
    assert not missing
