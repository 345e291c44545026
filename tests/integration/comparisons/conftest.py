"""The web tier in this process, and jobs of its tenant that can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from common.settings import Settings
from tests.support.compared import Judged, evaluate
from tests.support.store import Mill
from tests.support.web import Site


@pytest.fixture
def mill(redis_url: str) -> Mill:
    return Mill(redis_url)


@pytest.fixture
def site(redis_url: str) -> Iterator[Site]:
    made = Site(Settings.load(redis_url=redis_url))
    yield made
    made.services.watches.close()
    made.services.grammars.end()
    made.services.redis.close()


@pytest.fixture
def judged(site: Site) -> Judged:
    """Makes a job whose items say these texts, None for one that fails, and have `reference` as
    their reference; evaluated by `metrics`, if any."""

    def make(
        texts: Sequence[str | None],
        metrics: Sequence[str] = ("rouge_l", "length_chars"),
        reference: str = "the cat sat on the mat",
        **job: object,
    ) -> str:
        items = [
            {"prompt": f"prompt {index}", "custom_id": f"c{index}", "reference": reference}
            for index in range(len(texts))
        ]
        answer = site.post("/v1/jobs", json={"items": items, "evaluate": False, **job})
        assert answer.status_code == 202, answer.text
        worker = site.worker()
        for text in texts:
            if text is None:
                worker.run(1, error="boom")
            else:
                worker.say({"text": text})
        worker.incarnation.release()
        job_id = str(answer.json["id"])
        if metrics:
            evaluate(site.services.redis, job_id, metrics, "acme")
        return job_id

    return make
