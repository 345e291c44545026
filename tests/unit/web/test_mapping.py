"""With a template or a mapping every column is a variable; mapped ones mean something besides."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.tables import TEMPLATE, drafts_of, refusal_of, values_of, vars_of
from web.intake.columns import MissingColumn


def test_with_a_template_every_column_is_a_variable_whatever_it_is_called() -> None:
    content = b"custom_id,prompt,text,status,n,seed,max_new_tokens,messages\n1,p,t,s,3,x,9,[]\n"
    assert values_of("a.csv", content, template=TEMPLATE) == [
        {
            "vars": {
                "custom_id": "1",
                "prompt": "p",
                "text": "t",
                "status": "s",
                "n": "3",
                "seed": "x",
                "max_new_tokens": "9",
                "messages": "[]",
            }
        }
    ]


def test_mapped_columns_are_variables_too() -> None:
    content = b"id,q,temp,stops,gold,note\n007,why?,0.5,END,because,x\n8,who?,,,,\n"
    columns = {
        "custom_id": "id",
        "prompt": "q",
        "reference": "gold",
        "params": {"temperature": "temp", "stop": "stops"},
    }
    first, second = values_of("a.csv", content, columns=columns)
    assert first == {
        "vars": {
            "id": "007",
            "q": "why?",
            "temp": "0.5",
            "stops": "END",
            "gold": "because",
            "note": "x",
        },
        "custom_id": "007",
        "prompt": "why?",
        "params": {"temperature": 0.5, "stop": "END"},
    }
    assert second == {
        "vars": {"id": "8", "q": "who?", "temp": "", "stops": "", "gold": "", "note": ""},
        "custom_id": "8",
        "prompt": "who?",
    }


def test_a_column_of_schemas_keeps_their_nulls() -> None:
    content = b'q\tshape\na\t{"json_schema": {"enum": [null], "const": null}}\nb\t\n'
    first, second = values_of(
        "a.tsv", content, columns={"prompt": "q", "params": {"output": "shape"}}
    )
    assert first["params"] == {"output": {"json_schema": {"enum": [None], "const": None}}}
    assert "params" not in second


@pytest.mark.parametrize(
    ("job", "option", "column"),
    [
        ({"columns": {"custom_id": "key"}}, "columns.custom_id", "key"),
        ({"columns": {"reference": "gold"}}, "columns.reference", "gold"),
        ({"columns": {"prompt": "question"}}, "columns.prompt", "question"),
        ({"columns": {"messages": "chat"}}, "columns.messages", "chat"),
        ({"columns": {"params": {"seed": "s"}}}, "columns.params.seed", "s"),
        ({"prompt_column": "question"}, "prompt_column", "question"),
        ({"columns": {}, "prompt_column": "question"}, "prompt_column", "question"),
        ({"columns": {}}, None, "prompt"),
        ({}, None, "prompt"),
        ({"columns": {"custom_id": ""}}, "columns.custom_id", ""),
    ],
)
def test_a_column_that_is_missing_is_named_with_the_option_and_those_that_are_there(
    job: dict[str, Any], option: str | None, column: str
) -> None:
    error = refusal_of("a.csv", b"id,text\n1,a\n", **job)
    assert isinstance(error, MissingColumn)
    assert (error.option, error.column, error.names) == (option, column, ["id", "text"])
    assert (error.code, error.field) == ("missing_column", option or "columns.prompt")
    assert "the file has id, text" in error.message and repr(column) in error.message


def test_a_mapping_that_no_line_of_json_has_is_the_files_fault_at_its_end() -> None:
    content = b'{"id": 1, "text": "a"}\n{"text": "b", "note": null}\n'
    *rows, last = drafts_of("a.jsonl", content, template=TEMPLATE, columns={"custom_id": "key"})
    assert [row.value for row in rows] == [
        {"vars": {"id": 1, "text": "a"}},
        {"vars": {"text": "b", "note": None}},
    ]
    assert (last.code, last.field) == ("missing_column", "columns.custom_id")
    assert last.fault and "the file has id, text" in last.fault
    assert values_of("a.jsonl", content, template=TEMPLATE, columns={"custom_id": "id"})[0] == {
        "vars": {"id": 1, "text": "a"},
        "custom_id": "1",
    }


def test_a_json_line_is_a_row_of_columns_unless_it_has_vars() -> None:
    content = b'{"vars": null, "text": "a"}\n{"vars": "b"}\n'
    assert vars_of("a.jsonl", content) == [{"vars": None, "text": "a"}, {"vars": "b"}]
    content = b'{"vars": {"text": "a"}, "custom_id": "x"}\n{"prompt": "b", "custom_id": "y"}\n'
    assert values_of("a.jsonl", content, template=TEMPLATE) == [
        {"vars": {"text": "a"}, "custom_id": "x"},
        {"vars": {"prompt": "b", "custom_id": "y"}},
    ]
    assert values_of("a.jsonl", content) == [
        {"vars": {"text": "a"}, "custom_id": "x"},
        {"prompt": "b", "custom_id": "y"},
    ]


def test_a_list_is_no_prompt() -> None:
    content = b'{"q": ["a"]}\n{"q": 7}\n'
    values = values_of("a.jsonl", content, columns={"prompt": "q"})
    assert [value["prompt"] for value in values] == [["a"], "7"]


def test_a_line_of_text_is_the_variable_text() -> None:
    assert vars_of("a.txt", b"one\n\n{{other}}\n") == [{"text": "one"}, {"text": "{{other}}"}]


@pytest.mark.parametrize("option", ["prompt", "messages", "prompt_ids"])
def test_a_template_and_a_column_of_prompts_exclude_each_other(option: str) -> None:
    error = refusal_of("a.csv", b"q\na\n", template=TEMPLATE, columns={option: "q"})
    assert (error.code, error.field) == ("invalid_value", f"columns.{option}")
    error = refusal_of("a.csv", b"q\na\n", template=TEMPLATE, prompt_column="q")
    assert error.field == "prompt_column"


def test_an_empty_header_is_a_column_whose_name_is_empty() -> None:
    content = b",text,reference\n0,a,b\n1,c,d\n"
    assert values_of("a.csv", content, template=TEMPLATE, columns={"custom_id": ""}) == [
        {"vars": {"": "0", "text": "a", "reference": "b"}, "custom_id": "0"},
        {"vars": {"": "1", "text": "c", "reference": "d"}, "custom_id": "1"},
    ]
    assert values_of("a.csv", b",x\nhello,1\n", columns={"prompt": ""})[0]["prompt"] == "hello"


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (b"a,b,a,c,b\n", "several columns are named 'a' (1, 3); the same goes for b"),
        (b",text,,x\n", "several columns are named '' (1, 3)"),
        (b",".join(b"c%d" % n for n in range(201)) + b"\n", "201 columns"),
        (b"text," + b"x" * 257 + b"\n", "the name of column 2 has 257 characters"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused_with_what_is_wrong(
    header: bytes, says: str
) -> None:
    error = refusal_of("a.csv", header + b"1,2\n", template=TEMPLATE)
    assert (error.code, error.field) == ("invalid_header", "file")
    assert says in error.message


def test_two_hundred_columns_with_long_names_are_read() -> None:
    names = [f"{number:0256}" for number in range(200)]
    content = f"{','.join(names)}\n{','.join('x' * 200)}\n".encode()
    assert vars_of("a.csv", content) == [dict.fromkeys(names, "x")]


@pytest.mark.parametrize("bad_rows", ["refuse", "fail"])
def test_a_row_that_is_not_as_wide_as_the_header_keeps_its_cells(bad_rows: str) -> None:
    content = b"id,text\n1\n2,b\n3,c,d\n4,e,\n"
    drafts = drafts_of(
        "a.csv", content, template=TEMPLATE, columns={"custom_id": "id"}, bad_rows=bad_rows
    )
    assert [(draft.line, draft.refused and draft.refused["message"]) for draft in drafts] == [
        (2, "has 1 cells where the header has 2"),
        (3, None),
        (4, "has 3 cells where the header has 2"),
        (5, None),
    ]
    assert [draft.value["vars"] for draft in drafts] == [
        {"id": "1"},
        {"id": "2", "text": "b"},
        {"id": "3", "text": "c"},
        {"id": "4", "text": "e"},
    ]


def test_a_reference_is_a_text_or_a_list_of_up_to_sixteen() -> None:
    cells = ["gold", '["a", "b"]', "[1]", "[not json", "", "[]"]
    lines = [cell.replace('"', '""') for cell in cells]
    content = "text,gold\n" + "".join(f'x,"{line}"\n' for line in lines)
    job: dict[str, Any] = {"template": TEMPLATE, "columns": {"reference": "gold"}}
    assert [row["gold"] for row in vars_of("a.csv", content.encode(), **job)] == cells
    many = "[" + ",".join(['""x""'] * 17) + "]"
    (draft,) = drafts_of("a.csv", f'text,gold\nx,"{many}"\n'.encode(), **job)
    assert draft.refused and draft.refused["field"] == "reference"
    assert "1 to 16" in draft.refused["message"]


def test_every_row_of_a_table_shares_its_columns_and_types() -> None:
    drafts = drafts_of("a.csv", b"id,text\n1,a\n2,b\n", template=TEMPLATE)
    assert drafts[0].columns == ["id", "text"] and drafts[0].columns is drafts[1].columns
    assert drafts[0].types is None
