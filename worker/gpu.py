"""Claims a GPU with a lock in Redis, so that two workers on a host never use the same one.

Must run before torch is imported: the claim sets CUDA_VISIBLE_DEVICES to the UUID of one GPU.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import threading
import time

import redis

from common.errors import ConfigError, Unavailable
from common.store import keys
from common.store.connection import redis_errors

log = logging.getLogger(__name__)

PATIENCE = 18.0  # seconds a start waits for a GPU: the lock of a killed worker expires before
LOCK_TTL = 15_000  # ms; renewed every third of it, also while the model loads


def visible_gpus() -> list[str]:
    """UUIDs of the GPUs that this process may use: none without an NVIDIA driver, or if
    CUDA_VISIBLE_DEVICES is empty."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    gpus = [
        tuple(part.strip() for part in line.split(","))
        for line in answer.stdout.splitlines()
        if "," in line
    ]
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return [uuid for _, uuid in gpus]
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    return [
        uuid for name in names for index, uuid in gpus if name == index or uuid.startswith(name)
    ]


class GpuLock:
    """The lock of one GPU, held until `release`. The lock of a killed process expires."""

    def __init__(self, client: redis.Redis, uuid: str, owner: str):
        self.uuid = uuid
        self._client = client
        self._owner = owner
        self._released = threading.Event()

    def take(self) -> bool:
        with redis_errors():
            return bool(self._client.set(keys.gpu(self.uuid), self._owner, nx=True, px=LOCK_TTL))

    def keep(self) -> None:
        """Start a thread that renews the lock until it is released."""
        threading.Thread(target=self._renew, name="gpu-lock", daemon=True).start()

    def _renew(self) -> None:
        while not self._released.wait(LOCK_TTL / 3000):
            try:
                with redis_errors():
                    self._client.set(keys.gpu(self.uuid), self._owner, px=LOCK_TTL)
            except Unavailable as error:
                log.warning("the lock of GPU %s was not renewed: %s", self.uuid, error)

    def release(self) -> None:
        self._released.set()
        with redis_errors():
            self._client.delete(keys.gpu(self.uuid))


def claim_gpu(client: redis.Redis, owner: str, patience: float = PATIENCE) -> GpuLock | None:
    """Take a free GPU, and make it the only one that this process sees. None if there is no GPU.

    Raises:
        ConfigError: other workers held all GPUs for `patience` seconds.
    """
    uuids, end = visible_gpus(), time.monotonic() + patience
    while uuids:
        if lock := _take_one(client, uuids, owner):
            return lock
        if time.monotonic() > end:
            raise ConfigError(
                f"all {len(uuids)} visible GPUs are used by other workers; start fewer workers, or "
                "run this one on the CPU with PROMPTMILL_DEVICE=cpu"
            )
        time.sleep(0.5)
    return None


def _take_one(client: redis.Redis, uuids: list[str], owner: str) -> GpuLock | None:
    for uuid in uuids:
        lock = GpuLock(client, uuid, owner)
        if lock.take():
            lock.keep()
            os.environ["CUDA_VISIBLE_DEVICES"] = uuid
            log.info("using GPU %s", uuid)
            return lock
    return None
