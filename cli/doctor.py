"""`promptmill doctor`: checks Redis, disk, device and model, and names a fix for each fault."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import redis

from cli.commands import Command
from cli.doctor_model import check_model
from cli.finding import Finding
from cli.folder import DataFolder, data_option, find_settings
from cli.terminal import print_line
from common.errors import PromptmillError, Unavailable
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
LONGEST_WAIT = 60.0  # seconds that an evaluation may wait for its turn


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
    cache = Path(os.path.expanduser(settings.cache))  # noqa: PTH111  # the other raises if there is no home
    for what, path in (("data", folder), ("models", cache)):
        there = next(place for place in (path, *path.parents) if place.exists())
        free_mb = shutil.disk_usage(there).free // 2**20
        yield Finding(
            f"{free_mb} MB of disk free for {what} ({there})",
            free_mb >= DISK_MB,
            "free some space, or use a folder on another disk",
        )
