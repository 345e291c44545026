"""Every script is one that the server takes: a function of Lua has 200 local names at most, and the
library takes most of them."""

from __future__ import annotations

import pytest

from common.store.scripts import NAMES, source
from tests.support.store import Mill


@pytest.mark.parametrize("name", NAMES)
def test_the_server_compiles_it(mill: Mill, name: str) -> None:
    assert mill.client.script_load(source(name))
