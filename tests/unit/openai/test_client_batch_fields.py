"""Every field of the client's own request types for files and batches is honoured here or refused
by name."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest
from openai.types import (
    batch_create_params,
    batch_list_params,
    file_create_params,
    file_list_params,
)
from pydantic import BaseModel

from web.openai.batches import BatchPage, BatchRequest
from web.openai.files import FilePage, FileRequest
from web.openai.schemas import Expiry

PAIRS: list[tuple[Any, type[BaseModel], set[str]]] = [
    (batch_create_params.BatchCreateParams, BatchRequest, set()),
    (batch_create_params.OutputExpiresAfter, Expiry, set()),
    (batch_list_params.BatchListParams, BatchPage, set()),
    (file_create_params.FileCreateParams, FileRequest, {"file"}),  # the part that is no field
    (file_create_params.ExpiresAfter, Expiry, set()),
    (file_list_params.FileListParams, FilePage, set()),
]


@pytest.mark.parametrize(
    ("theirs", "ours", "elsewhere"), PAIRS, ids=lambda value: getattr(value, "__name__", "")
)
def test_each_field_of_the_clients_type_has_a_place(
    theirs: Any, ours: type[BaseModel], elsewhere: set[str]
) -> None:
    assert set(get_type_hints(theirs)) - elsewhere <= set(ours.model_fields)
    assert ours.model_config["extra"] == "forbid", "and no other passes unseen"
