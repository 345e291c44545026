"""The icon of a job's page, which shows its progress in the row of tabs."""

from __future__ import annotations

from flask import Response, render_template

from web.pages.blueprint import pages

TURN = 2 * 3.14159265 * 11  # the length of the ring
# The same in both themes: browsers show icons on bars of their own colours.
COLOURS = {
    "completed": "#3f9a6c",
    "failed": "#d2584c",
    "partly": "#d2584c",
    "cancelled": "#8d918b",
    "expired": "#a17cc4",
    "paused": "#8d918b",
}
WORKING = "#e0a23c"


@pages.get("/icon/<state>-<int:share>.svg")
def progress_icon(state: str, share: int) -> Response:
    drawn = render_template(
        "icon.svg",
        colour=COLOURS.get(state, WORKING),
        length=round(TURN * min(share, 100) / 100, 1),
        rest=round(TURN, 1),
        over=state in COLOURS and state != "paused",
        paused=state == "paused",
    )
    headers = {"Cache-Control": "public, max-age=86400"}
    return Response(drawn, headers=headers, content_type="image/svg+xml")
