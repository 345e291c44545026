"""What the worker does once its model is loaded."""

from __future__ import annotations

import gc

from worker.bootsteps import freeze_loaded


def test_garbage_collections_do_not_look_at_what_was_loaded() -> None:
    try:
        freeze_loaded()
        new: list[list[int]] = [[] for _ in range(10)]
        watched = len(gc.get_objects())
        assert gc.get_freeze_count() > 50 * watched
        assert any(each is new for each in gc.get_objects()), "what is made later is looked at"
    finally:
        gc.unfreeze()
