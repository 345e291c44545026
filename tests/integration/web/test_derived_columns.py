"""What a job of other jobs' rows keeps of their columns, and what its template may name."""

from __future__ import annotations

from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.derived import answer_all, derived, items, job, rendered, settle
from tests.support.web import Web


def test_a_table_keeps_its_columns(web: Web) -> None:
    answer = web.upload("t.csv", b"id,text\n007,one\n008,two\n", template={"prompt": "{{text}}"})
    answer_all(web, "1", "2")
    made = derived(web, answer.json["id"])
    settle(web)
    answer_all(web, "3", "4")
    table = web.get(f"/v1/jobs/{made}/results.csv").text.splitlines()
    assert table[0].startswith("id,text,output,pm_index")
    assert table[1].startswith("007,one,1,0")


def test_columns_with_the_names_of_what_is_provided_come_back_as_source(web: Web) -> None:
    table = b"prompt,output,reference,source_output\nask,7,gold,8\n"
    answer = web.upload("t.csv", table, template={"prompt": "please {{prompt}}"})
    answer_all(web, "1")
    named = {"prompt": "{{prompt}}: {{output}} of {{source_output}}, {{reference}}"}
    second = derived(web, answer.json["id"], template=named)
    settle(web)
    assert rendered(web, second) == ["please ask: 1 of 8, gold"], "the row has no reference"
    answer_all(web, "2")
    columns = {
        "source_prompt": "ask",
        "source_source_output": "7",
        "source_output": "8",
        "source_reference": "gold",
    }
    said = {"prompt": "please ask", "output": "1", "reference": "gold"}
    assert items(web, second)[0]["vars"] == columns | said
    header = web.get(f"/v1/jobs/{second}/results.csv").text.splitlines()[0]
    assert header.startswith("source_prompt,source_source_output,source_reference,source_output")
    third = derived(web, second, template={"prompt": "{{output}}"})
    settle(web)
    assert items(web, third)[0]["vars"] == columns | said | {"output": "2"}, "provided anew"


def test_a_parquet_column_of_such_a_name_keeps_its_type(web: Web) -> None:
    content = BytesIO()
    pq.write_table(pa.table({"text": ["a"], "output": pa.array([7], pa.int64())}), content)
    answer = web.upload("t.parquet", content.getvalue(), template={"prompt": "{{text}}"})
    answer_all(web, "one")
    made = derived(web, answer.json["id"])
    settle(web)
    answer_all(web, "two")
    data = web.get(f"/v1/jobs/{made}/results.parquet").data
    found = pq.read_table(BytesIO(data)).select(["source_output", "output"]).to_pydict()
    assert found == {"source_output": [7], "output": ["one"]}


@pytest.mark.parametrize("template", ["{{nope}}", "{{output}} {{nope}}", "{{reference}}"])
def test_a_variable_that_no_row_can_have_is_refused(web: Web, template: str) -> None:
    table = web.upload("t.csv", b"text\none\n", template={"prompt": "{{text}}"}).json["id"]
    bare = web.submit("a")
    answer_all(web, "1")
    answer_all(web, "2")
    for source in (table, bare):
        made = derived(web, source, template={"prompt": template})
        settle(web)
        shown = job(web, made)
        assert (shown["status"], shown["cancelled_by"]) == ("cancelled", "refused")
        error, named = shown["error"], template.split()[-1]
        assert error["code"] == "unknown_column" and f"names {named}, but" in error["message"]
