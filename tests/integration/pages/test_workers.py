"""The page of workers: what they did in the last hour, and the button that drains one, for those
who may press it."""

from __future__ import annotations

import json
from collections.abc import Callable

from common.store import keys
from tests.support.cards import card
from tests.support.web import Site


def test_only_operators_have_the_button(site: Site, make_site: Callable[..., Site]) -> None:
    worker = site.worker()
    path = f"/workers/{worker.incarnation.id}/drain"
    assert "Drain" not in site.look("/workers")
    answer = site.browser.post(path, headers={"Accept": "text/html"})
    assert (answer.status_code, answer.mimetype) == (403, "text/html")
    operator = make_site(operators="acme")
    assert f'action="{path}"' in operator.look("/workers")
    assert operator.browser.post(path).status_code == 303
    text = operator.look("/workers")
    assert "takes no items" in text
    assert "Take items" in text


def test_the_last_hour_is_drawn_with_its_numbers(site: Site) -> None:
    redis = site.services.redis
    assert "The last hour" not in site.look("/workers")
    now = redis.time()[0] // 60
    for minute, tokens in ((now - 1, 0), (now, 1200)):
        sample = {"minute": minute, "waiting": 31, "tokens": {"echo": tokens}}
        redis.rpush(keys.HISTORY, json.dumps(sample))
    redis.expire(keys.HISTORY, 60)
    text = site.look("/workers")
    assert '<td class="right num">20</td>' in text  # 1,200 tokens in 60 seconds
    assert '<td class="right num">31</td>' in text


def test_how_far_texts_can_be_made_again_is_said_as_the_card_has_it(site: Site) -> None:
    says = {
        "exact": ("yes", {"reproducible": True, "batch_invariant": True}),
        "float32": ("yes, except for ties that rounding decides", {"reproducible": True}),
        "rounded": ("not always", {}),
    }
    for name, (_, fields) in says.items():
        site.services.fleet.publish(card(name, chat_template="", **fields), b"")
    page = site.look("/workers")
    for name, (words, _) in says.items():
        row = page[page.index(f"<td>{name}</td>") :].partition("</tr>")[0]
        assert f"<td>{words}</td>" in row
