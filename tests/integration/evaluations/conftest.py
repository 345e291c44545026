"""A store in which jobs end and are evaluated."""

from __future__ import annotations

import pytest

from common.store.evaluation_work import EvaluationWork
from common.store.evaluations import Evaluations
from tests.support.store import Mill


@pytest.fixture
def mill(redis_url: str) -> Mill:
    return Mill(redis_url)


@pytest.fixture
def evaluations(mill: Mill) -> Evaluations:
    return Evaluations(mill.client)


@pytest.fixture
def work(mill: Mill) -> EvaluationWork:
    return EvaluationWork(mill.client)
