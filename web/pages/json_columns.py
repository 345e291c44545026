"""Fields of the objects that were generated as JSON, as columns of the table of items. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from common.result_row import InputRow, RowOutput
from web.jobs.output_fields import Fields, Value, field_text, fields_of, schema_fields
from web.schemas.answers import JobView

MOST_COLUMNS = 6  # an item's page has all
MOST_READ = 2**20  # characters of JSON that are read for one page


@dataclass(frozen=True)
class JsonColumns:
    """`names` are the columns, `hidden` how many fields have none; `fields` those of each output
    of the rows, by index: none of an output that is no object, or is not read."""

    names: Sequence[str] = ()
    hidden: int = 0
    fields: Mapping[int, Sequence[Fields]] = field(default_factory=dict)

    def values(self, index: int, name: str) -> list[str]:
        """What a row's cell of this column has: a text for each output that has the field."""
        return [shown(each[name]) for each in self.fields.get(index, ()) if name in each]

    def holds(self, index: int, output: int) -> bool:
        """Whether the columns have all of an output of this row."""
        fields = self.fields.get(index, ())[output : output + 1]
        return any(each and each.keys() <= set(self.names) for each in fields)


def json_columns(job: JobView, rows: Sequence[InputRow]) -> JsonColumns:
    """The properties of the job's schema, else the fields that the rows have."""
    fields = dict(_fields(rows))
    output = job.params.get("output")
    named = schema_fields(output) if isinstance(output, dict) else []
    if not named:
        found = (name for outputs in fields.values() for each in outputs for name in each)
        named = list(dict.fromkeys(found))
    return JsonColumns(named[:MOST_COLUMNS], len(named[MOST_COLUMNS:]), fields)


def _fields(rows: Sequence[InputRow]) -> Iterator[tuple[int, list[Fields]]]:
    left = MOST_READ
    for row in rows:
        if any("json_valid" in output for output in row["outputs"]):
            left -= sum(len(output["text"]) for output in row["outputs"])
            yield row["index"], [_read(output) if left > 0 else {} for output in row["outputs"]]


def _read(output: RowOutput) -> Fields:
    return fields_of(output["text"]) if output.get("json_valid") else {}


def shown(value: Value) -> str:
    """A value for people: a text as it is, others as JSON."""
    text = field_text(value)
    return "null" if text is None else text
