"""Adapters on vLLM: each writes what peft writes with it alone, whatever else is in the batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import ConfigError
from common.generation import Finished, Request
from common.params import SamplingParams
from common.types import ModelCard
from tests.support.adapters import adapter_folder
from tests.support.waiting import wait_until
from tests.support.workers import Queue, Workers
from tests.vllm.lora_folders import lora_folder, written_by_peft
from worker.adapters import card_with
from worker.engine.vllm.options import VllmOptions
from worker.models import OpenedModel, open_model

pytestmark = pytest.mark.timeout(400)  # vLLM takes its time to start

COUNT = 24  # tokens
ENOUGH = 120.0  # seconds
PROMPT = list(range(1, 380))  # more than two blocks of the prefix cache, which may have 128
NAMES = (None, "law", "med", "deep")


@pytest.fixture(scope="module")
def folders(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Adapters of two ranks; one has another rank in some of its modules."""
    place = tmp_path_factory.mktemp("adapters")
    return {
        "law": lora_folder(place / "law", tiny_model, seed=1),
        "med": lora_folder(place / "med", tiny_model, seed=2),
        "deep": lora_folder(
            place / "deep", tiny_model, seed=3, rank=12, rank_pattern={"q_proj": 5}
        ),
    }


def opened_with(model: Path, folders: dict[str, Path]) -> OpenedModel:
    return open_model(
        str(model),
        engine="vllm",
        dtype="float32",
        slots=8,
        adapters=folders,
        vllm=VllmOptions(args={"enforce_eager": True}),
    )


@pytest.fixture(scope="module")
def opened(tiny_model: Path, folders: dict[str, Path]) -> Iterator[OpenedModel]:
    made = opened_with(tiny_model, folders)
    made.engine.start()
    yield made
    made.engine.stop()


numbers = itertools.count()


def run(opened: OpenedModel, ids: list[int], *names: str | None) -> list[Finished]:
    """The answers for one prompt with each of these adapters, submitted at once."""
    params = SamplingParams(temperature=0, max_tokens=COUNT, ignore_eos=True)
    requests = [Request(f"r{next(numbers)}", "", ids, params, 0, adapter=name) for name in names]
    for each in requests:
        opened.engine.submit(each)
    found: dict[str, Finished] = {}

    def all_there() -> bool:
        found.update((each.id, each) for each in opened.engine.collect(0.1))
        return len(found) == len(requests)

    wait_until(all_there, lambda: found, ENOUGH)
    answers = [found[each.id] for each in requests]
    assert [each.error for each in answers] == [None] * len(answers)
    return answers


def tokens(answers: list[Finished]) -> list[list[int]]:
    return [each.outputs[0].token_ids for each in answers]


def test_one_prompt_with_and_without_adapters_in_one_batch_is_written_as_by_peft_alone(
    opened: OpenedModel, tiny_model: Path, folders: dict[str, Path]
) -> None:
    expected = [
        written_by_peft(tiny_model, folders[name] if name else None, PROMPT, COUNT)
        for name in NAMES
    ]
    assert len({tuple(each) for each in expected}) == len(NAMES), "the adapters change the text"
    first = tokens(run(opened, PROMPT, *NAMES))
    assert first == expected
    again = tokens(run(opened, PROMPT, *NAMES[::-1]))[::-1]
    assert again == expected, "by now the prompt is in the cache, of each adapter apart"


def test_the_card_of_a_model_with_an_adapter_is_one_of_its_own(opened: OpenedModel) -> None:
    cards = [card_with(opened.card, adapter) for adapter in opened.adapters]
    assert [each.id for each in cards] == [f"tiny-llama:{name}" for name in NAMES[1:]]
    assert len({opened.card.digest, *(each.digest for each in cards)}) == 4
    assert "adapters" in cards[0].features


def test_an_adapter_for_another_model_ends_the_start(tiny_model: Path, tmp_path: Path) -> None:
    other = adapter_folder(tmp_path / "other", sizes=(64, 64))
    with pytest.raises(ConfigError, match="made for another model"):
        opened_with(tiny_model, {"other": other})


def test_a_worker_serves_adapters_from_the_queue_and_texts_are_those_of_peft(
    tiny_model: Path,
    folders: dict[str, Path],
    opened: OpenedModel,
    redis_url: str,
    tmp_path: Path,
) -> None:
    workers = Workers(redis_url, tmp_path)
    process = workers.start(
        wait=False,
        model=str(tiny_model),
        engine="vllm",
        dtype="float32",
        slots=4,
        vllm_args='{"enforce_eager": true}',
        adapters=",".join(f"{name}={folders[name]}" for name in ("law", "med")),
    )
    try:
        wait_until(
            lambda: "serving tiny-llama:med" in workers.log(process) or process.poll() is not None,
            lambda: workers.log(process),
            ENOUGH,
        )
        cards: dict[str | None, ModelCard] = {None: opened.card}
        cards |= {each.name: card_with(opened.card, each) for each in opened.adapters}
        jobs = {}
        for name in (None, "law", "med"):
            queue = Queue(redis_url, cards[name].id, cards[name].digest)
            jobs[name] = queue, queue.submit(6, max_tokens=COUNT)
        for name, (queue, job_id) in jobs.items():
            queue.wait_status(job_id, "completed", ENOUGH)
            for index, row in enumerate(queue.store.rows(job_id, 0, 6)):
                assert row["status"] == "succeeded", row
                ids = opened.tokenizer.encode(f"a{index} b c d e f g h i j")
                made = written_by_peft(tiny_model, folders[name] if name else None, ids, COUNT)
                text = [token for token in made if token not in opened.tokenizer.eos_ids]
                whole = opened.tokenizer.decode(text).rstrip("\ufffd")  # the last may be in parts
                assert row["outputs"][0]["text"].rstrip("\ufffd") == whole
    finally:
        workers.stop_all()
