"""`promptmill doctor`: checks Redis, disk, device and model, and names a fix for each fault."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import psutil
import redis

from cli.commands import Command
from cli.folder import DataFolder, data_option, find_settings
from cli.terminal import print_line
from common.errors import ConfigError, PromptmillError, Unavailable
from common.settings import Settings
from common.store import keys
from common.store.address import without_secrets
from common.store.admission import Admission
from common.store.connection import connect, redis_errors
from common.store.evaluation_work import EvaluationWork
from common.types import JsonObject
from web.pages.filters import size

OLDEST_REDIS = (7, 0)
OLDEST_VALKEY = (7, 2)
MOST_TENANTS = 5  # that are listed, those with the most stored bytes
DISK_MB = 1024  # free; with less, the append-only file will soon fill the disk
MODEL_FIX = (
    "set PROMPTMILL_MODEL to a hub id, a local folder or smollm2-135m (`promptmill model "
    "fetch-demo`), and PROMPTMILL_DEVICE, PROMPTMILL_DTYPE and PROMPTMILL_ENGINE to auto"
)
# Memory that a model needs, as a multiple of its weights: the rest is for cache and activations.
MEMORY_FACTOR = 1.25

LONGEST_WAIT = 60.0  # seconds that an evaluation may wait for its turn


@dataclass(frozen=True)
class Finding:
    """The result of one check. `fix` says what to do if it is not good."""

    what: str
    good: bool
    fix: str = ""


@click.command(cls=Command)
@data_option
def doctor(folder: DataFolder) -> None:
    """Check Redis, disk, device and model.

    The exit code is 1 if something is wrong.
    """
    settings = find_settings(folder)
    findings: list[Finding] = []
    for check in (check_redis, check_disk, check_model):
        for finding in check(settings, folder.path):
            findings.append(finding)
            print_line(f"{'ok  ' if finding.good else 'BAD '} {finding.what}")
            if not finding.good:
                print_line(f"     fix: {finding.fix}")
    sys.exit(0 if all(finding.good for finding in findings) else 1)


def check_redis(settings: Settings, _folder: Path) -> Iterator[Finding]:
    where = without_secrets(settings.redis_url)
    client = connect(settings.redis_url)
    try:
        info: JsonObject = client.info("everything")
    except redis.AuthenticationError as error:
        fix = "put the right password into REDIS_URL: redis://:PASSWORD@HOST:PORT/0"
        yield Finding(f"Redis at {where} refuses the password: {error}", False, fix)
        return
    except redis.RedisError as error:
        fix = "start it, or correct REDIS_URL; `promptmill up` starts a server of its own"
        yield Finding(f"Redis at {where} cannot be reached: {error}", False, fix)
        return
    yield Finding(f"Redis at {where} answers", True)
    yield check_version(info)
    yield check_cluster(info)
    yield from check_persistence(info, client)
    yield check_policy(info)
    yield from check_stored(settings.max_stored_bytes, client)
    yield from check_evaluations(client)
    if settings.replicas:
        yield from check_replicas(settings.replicas, info, client)


def check_version(info: JsonObject) -> Finding:
    is_valkey = "valkey_version" in info
    name, oldest = ("Valkey", OLDEST_VALKEY) if is_valkey else ("Redis", OLDEST_REDIS)
    version = str(info["valkey_version" if is_valkey else "redis_version"])
    good = tuple(int(part) for part in version.split(".")[:2]) >= oldest
    return Finding(
        f"{name} is version {version}", good, f"use {name} {'.'.join(map(str, oldest))} or newer"
    )


def check_cluster(info: JsonObject) -> Finding:
    good = not info.get("cluster_enabled")
    what = "is a single instance" if good else "runs in cluster mode"
    return Finding(f"Redis {what}", good, "use one instance, with Sentinel if it must fail over")


def check_persistence(info: JsonObject, client: redis.Redis) -> Iterator[Finding]:
    if not info.get("aof_enabled"):
        fix = "set `appendonly yes` and `appendfsync always` in its configuration"
        yield Finding("Redis keeps no append-only file: accepted jobs can be lost", False, fix)
        return
    failing = info.get("aof_last_write_status") != "ok"
    yield Finding(
        f"the append-only file {'cannot be written' if failing else 'is written'}",
        not failing,
        "free disk space there",
    )
    try:
        with redis_errors():
            policy = client.config_get("appendfsync").get("appendfsync")
    except (redis.ResponseError, Unavailable):  # hosted servers often forbid CONFIG
        return
    good = policy in ("always", b"always")
    loss = "" if good else ": up to two seconds of accepted jobs can be lost"
    yield Finding(
        f"appendfsync is {policy}{loss}", good, "set `appendfsync always` in its configuration"
    )


def check_stored(most: int, client: redis.Redis) -> Iterator[Finding]:
    """The stored bytes of the tenants that have the most."""
    admission = Admission(client)
    try:
        tenants = [name.decode() for name in client.smembers(keys.TENANTS)]
        kept = sorted(((admission.stored(tenant), tenant) for tenant in tenants), reverse=True)
    except (redis.RedisError, PromptmillError):  # another check reports this error
        return
    for stored, tenant in kept[:MOST_TENANTS]:
        of = f" of {size(most)}" if most else ""
        fix = "delete jobs or files, or raise PROMPTMILL_MAX_STORED_BYTES"
        yield Finding(f"tenant {tenant} keeps {size(stored)}{of}", not most or stored < most, fix)


def check_evaluations(client: redis.Redis) -> Iterator[Finding]:
    try:
        waited = EvaluationWork(client).longest_wait()
    except (redis.RedisError, PromptmillError):  # another check reports this error
        return
    if waited > LONGEST_WAIT:
        fix = "start `promptmill evaluator`, or another one where one runs"
        yield Finding(f"an evaluation has waited for {waited:.0f} s for an evaluator", False, fix)


def check_replicas(wanted: int, info: JsonObject, client: redis.Redis) -> Iterator[Finding]:
    found = int(info.get("connected_slaves", 0))
    fix = "start more replicas, or lower PROMPTMILL_REPLICAS"
    yield Finding(
        f"{found} replicas of Redis are connected, promises wait for {wanted}", found >= wanted, fix
    )
    try:
        with redis_errors():
            least = int(client.config_get("min-replicas-to-write").get("min-replicas-to-write", 0))
    except (redis.ResponseError, Unavailable):
        return
    what = "refuses writes" if least else "takes writes that a failover throws away"
    fix = "set `min-replicas-to-write 1` in the configuration of every server"
    yield Finding(f"a Redis that is cut off from its replicas {what}", least > 0, fix)


def check_policy(info: JsonObject) -> Finding:
    policy = info.get("maxmemory_policy")
    return Finding(
        (
            "a full Redis "
            f"{'refuses writes' if policy == 'noeviction' else f'throws keys away ({policy})'}"
        ),
        policy == "noeviction",
        "set `maxmemory-policy noeviction` in its configuration",
    )


def check_disk(settings: Settings, folder: Path) -> Iterator[Finding]:
    for what, path in (("data", folder), ("models", settings.cache.expanduser())):
        there = next(place for place in (path, *path.parents) if place.exists())
        free_mb = shutil.disk_usage(there).free // 2**20
        yield Finding(
            f"{free_mb} MB of disk free for {what} ({there})",
            free_mb >= DISK_MB,
            "free some space, or use a folder on another disk",
        )


def check_model(settings: Settings, _folder: Path) -> Iterator[Finding]:
    if settings.is_echo:
        yield Finding("the echo engine needs no model", True)
        return
    try:
        import torch  # noqa: F401  # only to see whether it is there
    except ImportError:
        yield Finding(
            "torch is not installed: this machine can run all but generation workers", True
        )
        return
    from transformers.utils import logging

    logging.disable_progress_bar()  # it would print between the findings
    yield from check_gpus()
    try:
        memory = check_memory(settings)
        yield from memory
        if all(finding.good for finding in memory):
            yield check_loading(settings)
    except ConfigError as error:
        yield Finding(f"{settings.model} cannot be run: {error.message}", False, MODEL_FIX)


def check_gpus() -> Iterator[Finding]:
    import torch

    from worker.gpu import visible_gpus

    gpus, seen = len(visible_gpus()), torch.cuda.device_count()
    if gpus > seen:
        fix = "install a CUDA build of torch that fits the driver"
        yield Finding(
            f"the driver shows {gpus} GPUs, torch {torch.__version__} sees {seen}", False, fix
        )


def check_memory(settings: Settings) -> list[Finding]:
    """The device and dtype, and whether the model's weights fit into the free memory.

    Raises:
        ConfigError: there is no such device or model.
    """
    import torch

    from worker.models import find_model, pick_device, pick_dtype

    device = pick_device(settings.device)
    dtype = pick_dtype(settings.dtype, device)
    weights = weight_count(find_model(settings.model, settings.cache)) * dtype.itemsize
    free = (
        torch.cuda.mem_get_info(device)[0]
        if device.type == "cuda"
        else psutil.virtual_memory().available
    )
    need_mb, free_mb = int(weights * MEMORY_FACTOR) // 2**20, free // 2**20
    return [
        Finding(f"models run on {device.type} in {str(dtype).removeprefix('torch.')}", True),
        Finding(
            f"{settings.model} needs about {need_mb} MB of memory, {free_mb} MB are free",
            need_mb <= free_mb,
            "choose a smaller model, a smaller PROMPTMILL_DTYPE, or a larger device",
        ),
    ]


def check_loading(settings: Settings) -> Finding:
    """Load the model as a worker does.

    Raises:
        ConfigError: it cannot be run as the settings say.
    """
    from worker.models import open_model

    opened = open_model(
        settings.model,
        engine=settings.engine,
        device=settings.device,
        dtype=settings.dtype,
        quantize=settings.quantize,
        cache=settings.cache,
        defaults=settings.model_defaults == "on",
        context=settings.context,
    )
    return Finding(f"{settings.model} loads, on the {opened.card.engine} engine", True)


def weight_count(folder: Path) -> int:
    """How many weights a model has, read from the headers of its files."""
    from safetensors import safe_open

    count = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="np") as tensors:
            count += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118  # no dict
    return count
