"""What holds for all templates of the pages."""

from __future__ import annotations

from pathlib import Path

TEMPLATES = Path(__file__).parents[3] / "web/pages/templates"


def test_pages_are_loaded_again_by_their_address_so_that_a_fragment_does_not_keep_them() -> None:
    having = [
        path for path in TEMPLATES.glob("*.html") if 'http-equiv="refresh"' in path.read_text()
    ]
    assert [path.name for path in having] == ["macros.html"]
    assert having[0].read_text().count('http-equiv="refresh"') == 1
    assert "; url={{ request.script_root ~ request.full_path }}" in having[0].read_text()
