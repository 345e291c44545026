"""Errors of redis-py: a server that cannot answer now is told from a wrong command."""

from __future__ import annotations

import pytest
import redis

from common.errors import Unavailable
from common.store.connection import redis_errors


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("Connection closed by server."),
        redis.TimeoutError("Timeout reading from socket"),
        redis.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        redis.ReadOnlyError("You can't write against a read only replica."),
        redis.exceptions.ExecAbortError("Transaction discarded because of previous errors."),
        redis.ResponseError("MISCONF Errors writing to the AOF file"),
        redis.ResponseError(
            "Error running script: caused error: MASTERDOWN Link with MASTER is down"
        ),
    ],
)
def test_a_server_that_cannot_answer_now_is_unavailable(error: Exception) -> None:
    with pytest.raises(Unavailable), redis_errors():
        raise error


def test_what_a_command_itself_did_wrong_stays_what_it_is() -> None:
    error = redis.ResponseError("user_script:11: attempt to concatenate a boolean value")
    with pytest.raises(redis.ResponseError) as raised, redis_errors():
        raise error
    assert raised.value is error
