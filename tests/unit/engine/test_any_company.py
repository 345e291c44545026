"""What is drawn for a row has the same bits alone and in any company, at any place, on one thread
and on two: its token, its log-probabilities, and the weights that it was drawn by."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from common.generation import Request
from common.params import SamplingParams
from common.structured.guidance import Guide
from tests.support.tokenizers import for_json
from tests.unit.engine.company import POOL, logits_of, sequences_of
from tests.unit.engine.guided import grammar
from worker.engine.draw import draw
from worker.engine.kernels.library import Library
from worker.engine.logprobs import Asked, scored
from worker.engine.sampling import row_by_row, together
from worker.engine.sampling.knobs import Knobs
from worker.engine.scheduling.drawn import Drawn
from worker.engine.scheduling.mailbox import Mailbox
from worker.engine.scheduling.open_requests import OpenRequests

VOCABULARIES = [1000, 49_152, 151_936]  # the second is made of whole vectors, the others are not
COMPANY = [0, 1, 2, 7, 31, 127]
SMALLEST = 257


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


class Rows:
    """Rows of one vocabulary, and what is drawn for each alone, on one thread."""

    def __init__(self, vocabulary: int, library: Library | None):
        self.library = library
        self.sequences = sequences_of(random.Random(vocabulary), vocabulary)
        self.logits = logits_of(vocabulary)
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        self.alone = [self.drawn([row])[0] for row in range(POOL)]
        torch.set_num_threads(before)

    def batch(self, rng: random.Random, count: int) -> list[int]:
        """So many rows in any order. A row may be there more than once, but a grammar only once."""
        free = [row for row in range(POOL) if self.sequences[row].constraint is None]
        found = rng.sample(range(POOL), min(count, POOL)) + rng.choices(
            free, k=max(count - POOL, 0)
        )
        return rng.sample(found, count)

    def drawn(self, rows: list[int]) -> list[Drawn]:
        with torch.inference_mode():
            return draw([self.sequences[row] for row in rows], self.logits[rows], self.library)


@pytest.fixture(scope="module", params=["by torch", "compiled"])
def kernels(request: pytest.FixtureRequest) -> Library | None:
    """What draws: the compiled kernels, or torch and numpy."""
    found: Library | None = None
    if request.param == "compiled":
        found = request.getfixturevalue("library")
    return found


@pytest.fixture(scope="module", params=VOCABULARIES)
def rows(request: pytest.FixtureRequest, kernels: Library | None) -> Rows:
    return Rows(request.param, kernels)


@pytest.mark.usefixtures("threads")
def test_tokens_and_log_probabilities_are_the_same_in_any_company(rows: Rows) -> None:
    rng = random.Random(5)
    assert not any(each.fault for each in rows.alone)
    for others in COMPANY:
        for batch in (
            [rows.batch(rng, others + 1) for _ in range(2)]
            if others
            else [[row] for row in range(0, POOL, 3)]
        ):
            assert rows.drawn(batch) == [rows.alone[row] for row in batch]


@pytest.mark.usefixtures("threads")
def test_weights_are_the_same_in_any_company(rows: Rows) -> None:
    params = [SamplingParams(temperature=0.5 + row / POOL) for row in range(POOL)]
    values = rows.logits.numpy()
    drawing = list(row_by_row._rows(values, values.argmax(1), Knobs.of(params), np.full(POOL, 0.5)))
    together_, sums = row_by_row._weigh(drawing, values)
    for row in drawing:
        weights, masses = row_by_row._weigh([row], values)
        assert np.array_equal(weights[0], together_[row.number])
        assert np.array_equal(masses[0], sums[row.number])


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("vocabulary", [SMALLEST, 49_152])
def test_gpu_rows_sums_are_the_same_in_any_company(vocabulary: int) -> None:
    """Computed on a CPU here."""
    logits, shares = logits_of(vocabulary), np.full(POOL, 0.7)
    knobs = Knobs.of([SamplingParams(top_p=0.9)] * POOL)
    totals, typical = together._totals(logits, knobs), together._keep_typical(logits, shares)
    for row in range(0, POOL, 2):
        one = Knobs.of([SamplingParams(top_p=0.9)])
        mine = logits[row : row + 1]
        assert together._totals(mine, one).equal(totals[row : row + 1])
        assert together._keep_typical(mine, shares[:1]).equal(typical[row : row + 1])


@pytest.mark.usefixtures("threads")
def test_scored_tokens_are_the_same_in_any_company(rows: Rows) -> None:
    asked = [Asked(rows.sequences[0], row, row, [row, 5], row % 4) for row in range(POOL)]
    found = scored(asked, rows.logits)
    for row in range(0, POOL, 7):
        assert scored(asked[row : row + 1], rows.logits[row : row + 1]) == found[row : row + 1]


TIED = [77, 90, 300]
GREEDY: list[dict[str, Any]] = [
    {},
    {"logprobs": 2},
    {"presence_penalty": 0.5},
    {"min_tokens": 40},
    {"logit_bias": {5: 1.0}},
]


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("settings", GREEDY, ids=str)
@pytest.mark.parametrize("beside", [[], [{"temperature": 1.0}], [{"temperature": 0.0}] * 8])
def test_greedy_takes_the_lowest_of_equal_tokens(
    kernels: Library | None,
    dtype: torch.dtype,
    settings: dict[str, Any],
    beside: list[dict[str, Any]],
) -> None:
    tokenizer = for_json()
    books = OpenRequests(
        Mailbox(16), tokenizer, vocabulary=SMALLEST * 8, context=512, on_end=lambda _: None
    )
    every = [*beside, {"temperature": 0.0, **settings}, *beside]
    sequences = [
        books.open(Request(str(number), "", [7, 8], SamplingParams(**each), 0))[0]
        for number, each in enumerate(every)
    ]
    torch.manual_seed(0)
    logits = torch.randn(len(every), SMALLEST * 8).to(dtype)
    logits[len(beside), TIED] = 9.0
    with torch.inference_mode():
        drawn = draw(sequences, logits, kernels)[len(beside)]
    assert drawn.token == TIED[0]
    if drawn.score:
        assert [token for token, _ in drawn.score.top] == TIED[:2]


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_mask_leaves_the_lowest_of_equal_tokens_that_it_allows(
    kernels: Library | None, temperature: float
) -> None:
    """Alone, where the grammar is asked about one token first, and beside a row that is drawn."""
    tokenizer = for_json()
    guide = Guide(tokenizer.dumps(), 400, tokenizer.eos_ids)
    books = OpenRequests(
        Mailbox(16), tokenizer, vocabulary=400, context=512, on_end=lambda _: None, guide=guide
    )
    bound = Request("bound", "", [7, 8], SamplingParams(temperature=0.0), 0)
    bound.grammar = grammar(regex="[b-d]")
    books.grammars.prepare(bound)
    beside = Request("beside", "", [7, 8], SamplingParams(temperature=temperature), 0)
    sequences = [*books.open(bound), *books.open(beside)]
    allowed = min(id for letter in "bcd" for id in tokenizer.encode(letter, special=False))
    with torch.inference_mode():
        for some in (sequences[:1], sequences):
            assert draw(some, torch.zeros(len(some), 400), kernels)[0].token == allowed


def test_the_largest_are_found_alike_on_cpus_and_gpus() -> None:
    values = logits_of(49_152)[:8].bfloat16().float()
    values[3, 100:] = -torch.inf
    expected = values.sort(descending=True, stable=True).indices
    for count in (1, 20, 200):
        assert together.largest(values, count).equal(expected[:, :count])
        for row in range(len(values)):
            found = row_by_row.largest(values[row].numpy(), count)
            assert found.tolist() == expected[row, :count].tolist()
