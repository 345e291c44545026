"""A table in, a table out: each row's text goes into an instruction, and a column of answers comes
back.

    PROMPTMILL_API_KEY=pm_… python examples/table.py examples/table.csv

Stop it and run it again, from any folder: it goes on with the same job.
"""

import csv
import sys
from pathlib import Path

import promptmill

# A path gives a path; a pandas or polars frame, or a list of dictionaries, gives the same.
answers = promptmill.map(
    Path(sys.argv[1]),
    "Summarise in one sentence: {{text}}",
    params={"max_tokens": 60, "temperature": 0},
    to="answers.csv",
)
with answers.open(encoding="utf-8", newline="") as file:
    for row in csv.DictReader(file):
        print(row["id"], row["output"].strip(), sep="\t")
