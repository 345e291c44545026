"""Tables as pandas, polars, Arrow and spreadsheets write them: what becomes of each type, and of
gaps."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import uuid
from typing import Any

import pyarrow as pa
import pytest

from tests.support.cards import card
from tests.support.uploads import faults, items_of, table
from tests.support.web import Web
from web.intake.columns import MOST_METADATA, Columns

BERLIN = "Europe/Berlin"
UNIQUE = uuid.UUID("12345678-1234-5678-1234-567812345678")

# Parquet type of a column that is metadata, a value in it, and what comes back
VALUES = [
    (pa.string(), "text", "text"),
    (pa.large_string(), "text", "text"),
    (pa.string_view(), "text", "text"),
    (pa.dictionary(pa.int32(), pa.string()), "text", "text"),
    (pa.null(), None, None),
    (pa.int64(), 2**53 + 1, 2**53 + 1),
    (pa.uint64(), 2**64 - 1, 2**64 - 1),
    (pa.float64(), 3.0, 3.0),
    (pa.float64(), float("nan"), None),
    (pa.float32(), float("-inf"), "-Infinity"),
    (pa.float16(), 1.5, 1.5),
    (pa.bool_(), True, True),
    (pa.decimal128(10, 2), decimal.Decimal("12.50"), "12.50"),
    (pa.date32(), dt.date(2024, 2, 29), "2024-02-29"),
    (pa.date64(), dt.date(2024, 2, 29), "2024-02-29"),
    (pa.time32("ms"), dt.time(12, 30, 0, 500_000), "12:30:00.5"),
    (pa.time64("ns"), dt.time(12, 30), "12:30:00"),
    (pa.timestamp("us"), 1_709_208_000_000_000, "2024-02-29T12:00:00"),
    (pa.timestamp("ns"), 1, "1970-01-01T00:00:00.000000001"),
    (pa.timestamp("ms"), -1, "1969-12-31T23:59:59.999"),
    (pa.timestamp("us", BERLIN), 1_709_204_400_500_000, "2024-02-29T11:00:00.5Z"),
    (pa.timestamp("us"), 2**60, "1152921504606.846976"),
    (pa.duration("ms"), 5_400_500, "PT5400.5S"),
    (pa.duration("s"), -3, "PT-3S"),
    (pa.binary(), b"\xff\x00", "/wA="),
    (pa.binary(2), b"ab", "YWI="),
    (pa.large_binary(), b"", ""),
    (pa.list_(pa.int64()), [1, None], "[1,null]"),
    (pa.list_(pa.float64()), [], "[]"),
    (pa.list_(pa.int8(), 2), [1, 2], "[1,2]"),
    (pa.list_(pa.timestamp("s", "UTC")), [0], '["1970-01-01T00:00:00Z"]'),
    (
        pa.struct([("a", pa.string()), ("b", pa.list_(pa.binary()))]),
        {"a": "ü", "b": [b"x"]},
        '{"a":"ü","b":["eA=="]}',
    ),
    (pa.struct([("a", pa.float64())]), {"a": float("nan")}, '{"a":null}'),
    (pa.map_(pa.string(), pa.int64()), [("k", 1)], '{"k":1}'),
    (pa.map_(pa.int64(), pa.string()), [(1, None)], '{"1":null}'),
]


@pytest.mark.parametrize("first", range(0, len(VALUES), MOST_METADATA))
def test_every_parquet_type_has_its_text(web: Web, first: int) -> None:
    columns = {
        f"{kind} {value!r}": (kind, value, told)
        for kind, value, told in VALUES[first : first + MOST_METADATA]
    }
    arrays = {name: pa.array([value, None], kind) for name, (kind, value, _) in columns.items()}
    full, empty = items_of(web, "a.parquet", table(prompt=["a", "b"], **arrays))
    assert full["metadata"] == {name: told for name, (_, _, told) in columns.items()}
    assert empty["metadata"] == dict.fromkeys(columns)


def test_uuids_are_text(web: Web) -> None:
    ids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([UNIQUE.bytes], pa.binary(16)))
    (item,) = items_of(web, "a.parquet", table(prompt=["a"], custom_id=ids))
    assert item == {"prompt": "a", "custom_id": str(UNIQUE)}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (1, "1"),
        (1.0, "1"),
        ("12.0", "12"),
        (1.5, "1.5"),
        ("x", "x"),
        (None, None),
        ("1.0.0", "1.0.0"),
        ("a1.0", "a1.0"),
        (True, "true"),
        ("", None),
    ],
)
def test_a_custom_id_is_text_and_a_whole_number_has_no_fraction(
    value: Any, told: str | None
) -> None:
    assert Columns(["prompt", "custom_id"], "prompt").item(["a", value]).get("custom_id") == told


def test_custom_ids_of_any_type_are_text(web: Web) -> None:
    for ids in (pa.array([dt.date(2024, 1, 2)]), pa.array([b"ab"]), pa.array([[1]])):
        (item,) = items_of(web, "a.parquet", table(prompt=["a"], custom_id=ids))
        assert item["custom_id"] in ("2024-01-02", "YWI=", "[1]")


def test_whole_numbers_beside_a_gap_are_whole(web: Web) -> None:
    # what pandas 3.1 writes of {"max_tokens": [3, None], "temperature": [0, 1], "ignore_eos":
    # [True, None]}
    csv = (
        b"custom_id,prompt,max_tokens,temperature,ignore_eos,seed\n"
        b"1.0,a,3.0,0.0,True,7.0\n,b,,1.0,,\n"
    )
    columns: dict[str, list[Any]] = {
        "max_tokens": [3.0, None],
        "temperature": [0.0, 1.0],
        "ignore_eos": [True, None],
        "seed": [7.0, None],
    }
    lines = [
        {
            "custom_id": 1,
            "prompt": "a",
            "params": {name: values[0] for name, values in columns.items()},
        },
        {"prompt": "b", "params": {"temperature": 1.0}},
    ]
    for name, content in (
        ("a.csv", csv),
        ("a.parquet", table(prompt=["a", "b"], custom_id=[1.0, float("nan")], **columns)),
        ("a.jsonl", b"\n".join(json.dumps(line).encode() for line in lines)),
    ):
        answer = web.upload(name, content)
        assert answer.status_code == 202, answer.text
        first, second = web.services.store.items(answer.json["id"], 0, 2)
        assert first["custom_id"] == "1" and "custom_id" not in second
        assert first["params"] == {
            "max_tokens": 3,
            "temperature": 0.0,
            "ignore_eos": True,
            "seed": 7,
        }
        assert {type(first["params"][name]) for name in ("max_tokens", "seed")} == {int}
        assert second["params"]["temperature"] == 1.0 and "seed" not in second["params"]


@pytest.mark.parametrize(
    ("column", "cell", "told"),
    [
        ("ignore_eos", "TRUE", True),
        ("ignore_eos", "False", False),
        ("ignore_eos", "tRue", True),
        ("n", "2.0", 2),
        ("n", "NaN", None),
        ("stop_token_ids", "[1.0, 2]", [1, 2]),
        ("stop", "END", ["END"]),
        ("stop", '["a"]', ["a"]),
        ("logit_bias", '{"3": 1}', {"3": 1.0}),
        ("temperature", " 0.50 ", 0.5),
    ],
)
def test_cells_of_settings_are_read_as_what_they_say(
    web: Web, column: str, cell: str, told: Any
) -> None:
    quoted = cell.replace('"', '""')
    (item,) = items_of(web, "a.csv", f'prompt,{column}\na,"{quoted}"\n'.encode())
    assert item.get("params", {}).get(column) == told


def test_settings_may_be_text_in_parquet(web: Web) -> None:
    content = table(prompt=["a"], ignore_eos=["TRUE"], n=["2.0"], temperature=["0.5"], top_p=[""])
    (item,) = items_of(web, "a.parquet", content)
    assert item["params"] == {"ignore_eos": True, "n": 2, "temperature": 0.5}


def test_settings_of_parquet_may_be_decimals_lists_and_structs(web: Web) -> None:
    content = table(
        prompt=["a"],
        top_p=[decimal.Decimal("0.70")],
        stop=[["x", "y"]],
        stop_token_ids=[[1.0, 2.0]],
        logit_bias=[{"3": 1.0, "4": None}],
    )
    (item,) = items_of(web, "a.parquet", content)
    assert item["params"] == {
        "top_p": 0.7,
        "stop": ["x", "y"],
        "stop_token_ids": [1, 2],
        "logit_bias": {"3": 1.0},
    }


@pytest.mark.parametrize("cell", ["2.5", "yes", "1,0", "Infinity"])
def test_what_is_no_whole_number_stays_refused(web: Web, cell: str) -> None:
    ((line, message),) = faults(web, "a.csv", f'prompt,n\na,"{cell}"\n'.encode())
    assert (line, message) == (2, "params.n must be a whole number")


MESSAGES = [{"role": "user", "content": "hello"}]


def test_a_table_may_have_chats_or_token_ids_for_prompts(web: Web) -> None:
    chatty = card("chatty", chat_template="{% for m in messages %}{{ m.content }}{% endfor %}")
    web.services.fleet.publish(chatty, b"")
    with_nulls = pa.array([[{"role": "user", "content": "hello", "name": None}]])
    quoted = json.dumps(MESSAGES).replace('"', '""')
    for name, content, told in (
        (
            "a.parquet",
            table(messages=with_nulls, team=["red"]),
            {"messages": MESSAGES, "metadata": {"team": "red"}},
        ),
        ("a.parquet", table(messages=[json.dumps(MESSAGES)]), {"messages": MESSAGES}),
        ("a.csv", f'messages\n"{quoted}"\n'.encode(), {"messages": MESSAGES}),
        ("a.parquet", table(prompt_ids=[[1, 2]]), {"prompt_ids": [1, 2]}),
        ("a.parquet", table(prompt_ids=[[1.0, 2.0]]), {"prompt_ids": [1, 2]}),
        (
            "a.parquet",
            table(prompt=["a"], messages=with_nulls),
            {
                "prompt": "a",
                "metadata": {"messages": '[{"role":"user","content":"hello","name":null}]'},
            },
        ),
    ):
        assert items_of(web, name, content, model="chatty") == [told]


def test_a_prompt_that_is_no_text_is_a_number_or_refused_by_its_type(web: Web) -> None:
    for prompts, says in (
        ([b"a"], "has bytes"),
        ([["a"]], "has lists or objects"),
        ([{"a": 1}], "messages"),
    ):
        ((_, message),) = faults(web, "a.parquet", table(prompt=prompts))
        assert says in message
    assert items_of(web, "a.parquet", table(prompt=[1, 2])) == [{"prompt": "1"}, {"prompt": "2"}]


def test_a_gap_among_prompts_is_a_missing_prompt(web: Web) -> None:
    found = faults(web, "a.parquet", table(prompt=["a", None]))
    assert found == [(2, "give either prompt, prompt_ids or messages, one of them")]


def test_parquet_text_that_is_no_utf8_is_the_fault_of_its_row(web: Web) -> None:
    texts = pa.array([b"a", b"\xff", b"c"]).view(pa.string())
    assert faults(web, "a.parquet", table(prompt=texts)) == [(2, "not valid UTF-8")]


# Blank lines


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.jsonl", b'\n{"prompt": "a"}\n  \n\t\r\n{}\n\n\n', 5),
        ("a.txt", "\na\n  \n\u00a0\n\ud7ff".encode() + b"\xff\n\n", 5),
        (
            "a.csv",
            b"\n;\n".replace(b";", b",,")
            + (b'prompt,n,\r\na,1,\r\n,,\r\n" ", ,\r\n\r\nb,x,\r\n,,\r\n'),
            8,
        ),
    ],
)
def test_blank_lines_are_skipped_and_the_others_keep_their_numbers(
    web: Web, name: str, content: bytes, line: int
) -> None:
    assert [found for found, _ in faults(web, name, content)] == [line]


def test_spreadsheets_write_rows_of_separators_and_columns_without_a_name(web: Web) -> None:
    ((line, says),) = faults(web, "a.csv", b"prompt,,\na,,\nb,,lost\n")
    assert line == 3 and says.startswith("has text in column 3, which has no name in the header")
    content = b'\xef\xbb\xbfprompt,team,,\r\na,red,,\r\n,,,\r\n"b\nc",,,\r\n,,,\r\n'
    assert items_of(web, "a.csv", content) == [
        {"prompt": "a", "metadata": {"team": "red"}},
        {"prompt": "b\nc", "metadata": {"team": ""}},
    ]


@pytest.mark.parametrize(
    ("name", "head", "blank"),
    [("a.jsonl", b"", b"\n"), ("a.txt", b"", b" \n"), ("a.csv", b"prompt,n\n", b",\n")],
)
def test_a_hundred_thousand_blank_lines_are_too_many(
    web: Web, name: str, head: bytes, blank: bytes
) -> None:
    few = faults(web, name, head + blank * 99_999)
    assert few == [(None, "the file has no rows below its header" if head else "the file is empty")]
    answer = web.upload(name, head + blank * 100_000)
    assert (answer.status_code, answer.json["code"]) == (422, "too_many_blank_lines")
    assert answer.json["errors"][0]["line"] == 100_000 + bool(head)
