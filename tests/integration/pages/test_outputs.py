"""How the pages of jobs and items show generated JSON, output formats, and calls of functions."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest

from tests.support.cards import card
from tests.support.web import Site, Worker
from web.pages.json_columns import MOST_COLUMNS, MOST_READ
from web.pages.output_words import readable_json

FEATURES = ("structured_output", "thinking", "continuations")
ABLE = card("able", engine="native", features=FEATURES, context=8192)
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "born": {"type": "integer"}, "tags": {}},
}
JSON = {"output": {"json_schema": SCHEMA}}


@pytest.fixture
def worker(site: Site) -> Worker:
    site.services.fleet.publish(ABLE, b"")
    return site.worker(ABLE)


def submit(site: Site, **job: Any) -> str:
    body = {"model": "able"} | ({} if "items" in job else {"prompts": ["a"]}) | job
    # Flask's client would sort the keys.
    answer = site.post("/v1/jobs", data=json.dumps(body), content_type="application/json")
    assert answer.status_code == 202, answer.text
    return str(answer.json["id"])


def valid(text: str, **more: Any) -> dict[str, Any]:
    return {"outputs": [{"text": text, "json_valid": True, **more}]}


def plain(page: str) -> str:
    """The text of some HTML, white space as one space."""
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", page)).split())


def table(site: Site, job_id: str) -> tuple[list[str], list[list[str]]]:
    """The heads of the table of items, and the cells of each row."""
    page = site.look(f"/jobs/{job_id}")
    items = page[page.index('<table class="items') :]
    items = items[: items.index("</table>")]
    rows = re.findall(r"<tr id=.*?</tr>", items, re.DOTALL)
    cells = [
        [plain(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)] for row in rows
    ]
    heads = re.findall(r"<th[^>]*>(.*?)</th>", items[: items.index("</thead>")], re.DOTALL)
    return [plain(head) for head in heads], cells


def test_the_fields_of_a_schema_are_columns_in_its_order(site: Site, worker: Worker) -> None:
    job_id = submit(site, prompts=["a", "b", "c"], params=JSON)
    heads = ["#", "Prompt", "name", "born", "tags", "State"]
    assert table(site, job_id)[0] == heads  # before anything is there
    worker.hand_in(
        valid('{"name": "<b>Ada</b>", "born": 1815, "tags": ["x", {"y": null}]}'),
        valid('{"name": null, "born": 1e400, "tags": ""}'),
        valid('{"name": "no more"}'),
    )
    found, rows = table(site, job_id)
    assert found == heads  # nothing is left that needs a column of its own
    assert [row[2:5] for row in rows] == [
        ["<b>Ada</b>", "1815", '["x", {"y": null}]'],
        ["null", "1e400", ""],
        ["no more", "", ""],
    ]


def test_what_is_no_valid_json_says_so_beside_its_text(site: Site, worker: Worker) -> None:
    job_id = submit(site, prompts=["a", "b"], params=JSON)
    cut = {"text": '{"name": "Ad', "finish_reason": "length", "json_valid": False}
    worker.hand_in(valid('{"name": "Ada"}'), {"outputs": [cut]})
    heads, rows = table(site, job_id)
    assert heads[-2:] == ["Output", "State"]
    assert [row[-2] for row in rows] == ["", '{"name": "Ad not valid JSON reached max_tokens']
    assert "This is not valid JSON." in site.look(f"/jobs/{job_id}/items/1")


def test_without_a_schema_the_fields_are_those_of_the_rows(site: Site, worker: Worker) -> None:
    items: list[dict[str, Any]] = [
        {"prompt": "a", "params": {"output": {"json": True}}},
        {"prompt": "b"},
        {"prompt": "c", "params": {"output": {"json": True}, "n": 2}},
    ]
    job_id = submit(site, items=items)
    assert "Output" in table(site, job_id)[0]
    twice = [*valid('{"b": 2}')["outputs"], *valid('{"a": 3, "": 4}')["outputs"]]
    worker.hand_in(valid('{"a": 1}'), {"outputs": [{"text": "free"}]}, {"outputs": twice})
    heads, rows = table(site, job_id)
    assert [head for head in heads if head in ("a", "b", "(no name)", "Output")] == [
        *("a", "b", "(no name)"),
        "Output",
    ]
    first = heads.index("a")
    assert [row[first : first + 4] for row in rows] == [
        ["1", "", "", ""],
        ["", "", "", "free"],
        ["3", "2", "4", "2 tokens · ended by itself 2 tokens · ended by itself"],
    ]


def test_many_fields_are_left_to_the_page_of_the_item(site: Site, worker: Worker) -> None:
    job_id = submit(site, params={"output": {"json": True}})
    worker.hand_in(valid(json.dumps({f"f{i}": i for i in range(MOST_COLUMNS + 3)})))
    heads, (row,) = table(site, job_id)
    assert heads[2:-2] == [f"f{i}" for i in range(MOST_COLUMNS)]
    assert '"f8": 8' in row[-2]  # what has no column is in the text
    assert "3 more columns on the page of each item" in site.look(f"/jobs/{job_id}")


def test_a_page_reads_no_more_json_than_it_may(site: Site, worker: Worker) -> None:
    job_id = submit(site, prompts=["a", "b", "c"], params={"output": {"json": True}})
    long = json.dumps({"long": "x" * (MOST_READ // 2)})
    worker.hand_in(valid(long), valid(long), valid('{"short": 1}'))
    heads, rows = table(site, job_id)
    assert "long" in heads and "short" not in heads
    assert rows[2][-2] == '{"short": 1}'


def test_a_format_is_told_in_words_and_shown_in_full_on_request(site: Site) -> None:
    site.services.fleet.publish(ABLE, b"")
    labels = [f"label {i}" for i in range(2000)]
    for output, words in (
        ({"json_schema": SCHEMA}, "JSON with name, born, tags"),
        ({"json_schema": {"$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}}}, "by a schema"),
        ({"choice": labels}, "one of “label 0”, “label 1”, “label 2”, “label 3”, “label 4” and"),
        ({"choice": ["<a>"], "probabilities": True}, "one of “<a>”, with probabilities"),
        ({"regex": "a{2}"}, "matched by a{2}"),
        ({"grammar": 'start: "a"'}, "of a grammar"),
        ({"json": True}, "a JSON object"),
    ):
        job_id = submit(site, params={"output": output})
        page = site.look(f"/jobs/{job_id}")
        live = page[page.index('data-part="progress"') : page.index('data-part="terminal"')]
        assert f"output {words}" in plain(live) or words in plain(live)
        assert len(live) < 20_000
        assert words in plain(site.look(f"/jobs/{job_id}/items/0"))
    own = [{"prompt": "a", "params": JSON}, {"prompt": "b", "params": {"output": {"regex": "x"}}}]
    heads, rows = table(site, submit(site, items=own))
    column = heads.index("output")
    assert [row[column] for row in rows] == ["JSON with name, born, tags", "matched by x"]


def test_a_format_of_64_kib_leaves_the_page_small(site: Site, worker: Worker) -> None:
    names = [f"the field with the number {i}" for i in range(750)]
    wide = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
    format = {"json_schema": wide | {"required": names}}
    assert len(json.dumps(format)) > 60_000
    job_id = submit(site, prompts=["a"] * 50, params={"max_tokens": 8000, "output": format})
    text = json.dumps(dict.fromkeys(names, "x"))
    worker.hand_in(*[valid(text) for _ in range(50)])
    assert len(site.look(f"/jobs/{job_id}")) < 100_000
    own = [{"prompt": str(i), "params": {"output": {"choice": ["x" * 60_000]}}} for i in range(9)]
    items = [{"prompt": "a"}, *own]
    job_id = submit(site, items=items, params={"max_tokens": 8000})
    assert len(site.look(f"/jobs/{job_id}")) < 40_000


def test_an_items_json_is_on_lines_of_its_own_as_it_was_written(site: Site, worker: Worker) -> None:
    job_id = submit(site, params=JSON)
    text = r'{"name": "a, {\"b\": [é\u00e9", "born": 1.50e+2, "tags": [[], {}, [1, {"x": true}]]}'
    worker.hand_in(valid(text, reasoning="first <i>this</i>"))
    page = site.look(f"/jobs/{job_id}/items/0")
    assert "first &lt;i&gt;this&lt;/i&gt;" in page
    shown = re.search(r'<pre class="text json">(.*?)</pre>', page, re.DOTALL)
    assert shown and html.unescape(shown[1]).splitlines() == [
        "{",
        r'  "name": "a, {\"b\": [é\u00e9",',
        '  "born": 1.50e+2,',
        '  "tags": [',
        "    [],",
        "    {},",
        "    [",
        "      1,",
        "      {",
        '        "x": true',
        "      }",
        "    ]",
        "  ]",
        "}",
    ]


@pytest.mark.parametrize("text", ["", "{", '"a', "[1,]", "[" * 5000, "1" * 5000, "NaN x", "}"])
def test_what_is_no_json_stays_as_it_is(text: str) -> None:
    assert readable_json(text) == text


@pytest.mark.parametrize("value", [{}, [], 0, "", "a\\", [{"": ""}], {"a": {"b": [None, []]}}])
def test_readable_json_is_the_same_json(value: Any) -> None:
    assert json.loads(readable_json(json.dumps(value))) == value
    assert readable_json(json.dumps(value)) == json.dumps(value, indent=2)


def test_functions_and_calls_can_be_read(site: Site, worker: Worker) -> None:
    chat = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    chatty = ABLE.model_copy(update={"id": "chatty", "chat_template": chat, "digest": "chatty"})
    site.services.fleet.publish(chatty, b"")
    call = {"id": "call_1", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
    messages = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "<hot>"},
    ]
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    functions = [{"name": "weather", "description": "Tells <it>.", "parameters": parameters}]
    items = [{"messages": messages, "tools": {"functions": functions}}]
    job_id = submit(site, items=items, model="chatty")
    text = 'Let me see.<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'
    site.worker(chatty).hand_in({"outputs": [{"text": text}]})
    page = site.look(f"/jobs/{job_id}/items/0")
    words = plain(page)
    assert "the answer may call them weather Tells <it>." in words
    assert 'assistant calls weather as call_1 { "city": "Rome" }' in words
    assert "tool, for call_1 <hot>" in words
    assert 'Let me see. calls weather { "city": "Oslo" }' in words


def test_fields_can_be_downloaded_as_columns(site: Site, worker: Worker) -> None:
    job_id = submit(site, params=JSON)
    worker.hand_in(valid('{"name": "Ada", "born": 1815}'))
    link = re.search(r'href="([^"]*flatten=1[^"]*)"', site.look(f"/jobs/{job_id}"))
    assert link
    answer = site.browser.get(html.unescape(link[1]))
    head = answer.text.splitlines()[0]
    assert answer.status_code == 200 and "output.name,output.born" in head
    assert "flatten" not in site.look(f"/jobs/{submit(site)}")


def test_a_reader_of_a_shared_job_sees_the_same(site: Site, worker: Worker) -> None:
    job_id = submit(site, params=JSON)
    worker.hand_in(valid('{"name": "Ada"}', reasoning="hm"))
    secret = site.services.shares.create(job_id, "acme", "a reader")
    browser = site.app.test_client()
    assert browser.get(f"/read/{job_id}/open?token={secret}").status_code == 303
    assert "JSON with name" in plain(browser.get(f"/read/{job_id}").text)
    assert '{ "name": "Ada" }' in plain(browser.get(f"/read/{job_id}/items/0").text)
