"""Claims GPUs with locks in Redis, so that two workers on a host never use the same one.

Must run before torch is imported: the claim sets CUDA_VISIBLE_DEVICES to the UUIDs it got.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable

import redis

from common.errors import ConfigError, Unavailable
from common.settings import Settings
from common.store.gpus import LEASE, Gpus, Held

log = logging.getLogger(__name__)

PATIENCE = 18.0  # seconds a start waits for GPUs: the locks of a killed worker expire before
LOOK_AGAIN = 0.5  # seconds between two tries
DRIVER_LIMIT = 20  # seconds in which the driver must answer

Lost = Callable[[], object]  # is told that another worker uses a GPU of this one


def visible_gpus() -> list[str]:
    """UUIDs of the GPUs that this process may use, in the driver's order, which is the same for all
    processes of a machine. None without an NVIDIA driver, or if CUDA_VISIBLE_DEVICES is empty.

    Raises:
        ConfigError: the driver does not answer.
    """
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        answer = subprocess.run(
            query, capture_output=True, text=True, timeout=DRIVER_LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"nvidia-smi did not answer in {DRIVER_LIMIT} s; the driver or a GPU hangs: look at "
            "`dmesg`, or run this worker on the CPU with PROMPTMILL_DEVICE=cpu"
        ) from None
    gpus = [
        tuple(part.strip() for part in line.split(","))
        for line in answer.stdout.splitlines()
        if "," in line
    ]
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return [uuid for _, uuid in gpus]
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    return [uuid for index, uuid in gpus if any(n == index or uuid.startswith(n) for n in names)]


def worker_count(settings: Settings) -> int:
    """The worker processes that this machine has GPUs for; one without GPUs, or if there are too
    few for one, which then says so."""
    if settings.device == "cpu" or settings.is_echo:
        return 1
    return max(1, len(visible_gpus()) // settings.gpus_per_worker)


class GpuClaim:
    """The GPUs of this process, until `release`. The locks of a killed process expire."""

    def __init__(self, gpus: Gpus, uuids: tuple[str, ...], owner: str):
        self.uuids = uuids
        self._gpus = gpus
        self._owner = owner
        self._asking = threading.Lock()  # a renewal under way must not outlive the release
        self._released = threading.Event()

    def keep(self, lost: Lost) -> None:
        """Start a thread that renews the locks until they are released. If another process has one
        of them, the thread calls `lost` once and ends."""
        threading.Thread(target=self._renew, args=[lost], name="gpu-lock", daemon=True).start()

    def _renew(self, lost: Lost) -> None:
        while not self._released.wait(LEASE / 3000):
            try:
                others = self._hold()
            except Unavailable as error:
                log.warning("the locks of this worker's GPUs were not renewed: %s", error)
                continue
            except Exception:  # if this thread ended, nobody would see that a lock was lost
                log.exception("the locks of this worker's GPUs were not renewed; trying again")
                continue
            if others and not self._released.is_set():
                log.critical(
                    "this worker's lock expired, and %s now; two workers on one GPU run out of "
                    "its memory: ending",
                    _told(others),
                )
                lost()
                return

    def _hold(self) -> dict[str, str]:
        """Renew the locks, unless they were released; who has those that others have."""
        with self._asking:
            if self._released.is_set():
                return {}
            return self._gpus.hold(self._owner, self.uuids, len(self.uuids)).others

    def release(self) -> None:
        self._released.set()
        with self._asking:
            self._gpus.release(self._owner, self.uuids)


def claim_gpus(
    client: redis.Redis, owner: str, wanted: int, lost: Lost, patience: float = PATIENCE
) -> GpuClaim | None:
    """Take `wanted` free GPUs at once, and make them the only ones that this process sees. None if
    there is no GPU. `lost` is called when another process took one of them.

    Raises:
        ConfigError: there are fewer GPUs, or other workers held too many of them for `patience`
        seconds.
    """
    uuids = visible_gpus()
    if not uuids:
        return None
    if len(uuids) < wanted:
        raise ConfigError(
            f"a worker needs {wanted} GPUs (PROMPTMILL_TENSOR_PARALLEL x "
            f"PROMPTMILL_PIPELINE_PARALLEL), and {len(uuids)} are visible on this machine; lower "
            "these settings, or make more GPUs visible (CUDA_VISIBLE_DEVICES)"
        )
    gpus = Gpus(client)
    held = _wait_for(gpus, owner, uuids, wanted, patience)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(held.uuids)
    log.info("using GPU %s", ", ".join(held.uuids))
    claim = GpuClaim(gpus, held.uuids, owner)
    claim.keep(lost)
    return claim


def _wait_for(gpus: Gpus, owner: str, uuids: list[str], wanted: int, patience: float) -> Held:
    end = time.monotonic() + patience
    while not (held := gpus.hold(owner, uuids, wanted)).uuids:
        if time.monotonic() > end:
            raise ConfigError(
                f"a worker needs {wanted} of the {len(uuids)} visible GPUs, and "
                f"{len(uuids) - len(held.others)} are free: {_told(held.others)}; start fewer "
                "workers, or run this one on the CPU with PROMPTMILL_DEVICE=cpu"
            )
        time.sleep(LOOK_AGAIN)
    return held


def _told(others: dict[str, str]) -> str:
    """Who uses which GPUs, as in "host:12 uses GPU-a, GPU-b"."""
    by_owner: dict[str, list[str]] = {}
    for uuid, owner in others.items():
        by_owner.setdefault(owner, []).append(uuid)
    return "; ".join(f"{owner} uses {', '.join(uuids)}" for owner, uuids in by_owner.items())
