"""`promptmill backup FILE` and `restore FILE`: the whole store as one file, while workers run.

A backup is the server's own snapshot (RDB), read as a replica reads it: the state of one moment,
with all that was acknowledged before. To restore it, an embedded server loads the file, and the
records are copied from there one by one; until all are copied, every script is refused. Items that
ran when the backup was taken are in the queue again, without a charge. Workers that hold items from
after the backup find that they lost their lease, and start over.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import redis

from cli.commands import Command
from cli.folder import DataFolder, data_option, find_settings
from cli.terminal import print_line
from cli.valkey import Valkey
from common.errors import ConfigError, Unavailable
from common.store import keys
from common.store.connection import connect, redis_errors
from common.store.scripts import SCHEMA, Scripts
from common.store.version import meet_store

PIECE = 2**20  # bytes read at once
# Seconds without an answer: the server may be writing its snapshot, or taking a large record.
PATIENCE = 120.0
SENT = 8 * 2**20  # bytes of records copied in one round trip; a larger record goes alone
MAGIC = (b"REDIS", b"VALKEY")
EVERYTHING = f"{keys.PREFIX}*"
LOGINS = [
    keys.PREFIX + rest
    for rest in ("login:*", "begun:*", "tenant:*:links", "tenant:*:invites", "tenant:*:sessions")
]


@click.command(cls=Command)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@data_option
def backup(file: Path, folder: DataFolder) -> None:
    """Write the whole store to FILE.

    The server and its clients may run. The backup has the state of one moment.
    """
    if file.exists():
        raise ConfigError(f"{file} exists; name another file, or remove this one")
    if not file.parent.is_dir():
        raise ConfigError(f"there is no folder {file.parent}; make it first")
    if not os.access(file.parent, os.W_OK):
        raise ConfigError(f"the folder {file.parent} cannot be written to; name another one")
    url = find_settings(folder).redis_url
    draft = file.with_name(file.name + ".part")
    draft.unlink(missing_ok=True)
    try:
        size = _take_snapshot(url, draft)
        draft.rename(file)
    finally:
        draft.unlink(missing_ok=True)
    print_line(f"{file}: {size:,} bytes; it has API keys and secrets, and only you can read it")


@click.command(cls=Command)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Delete what the store has now.")
@data_option
def restore(file: Path, replace: bool, folder: DataFolder) -> None:
    """Restore the store from FILE.

    The store must be empty, unless --replace is given. Workers may run.
    """
    target = connect(find_settings(folder).redis_url, socket_timeout=PATIENCE)
    with _loaded(file) as source, redis_errors():
        _check_target(target, replace)
        _release_items(source)
        target.hset(keys.VERSION, mapping={"schema": SCHEMA, "compatible": keys.RESTORING})
        _clear(target)
        count = _copy(source, target)
        target.delete(keys.VERSION)  # the store is open from here on
        meet_store(target)
    print_line(f"{count:,} records restored; running workers take the waiting items by themselves")


def _take_snapshot(url: str, file: Path) -> int:
    """Write the snapshot that a replica gets to `file`, in pieces. Returns its size in bytes."""
    client = connect(url, protocol=2, socket_timeout=PATIENCE)
    with client, redis_errors():
        connection = client.connection_pool.get_connection()
        connection.send_command("SYNC")
        line = connection._sock  # redis-py cannot read this answer
        size = _announced(line)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as sink:
            left = size
            while left:
                piece = line.recv(min(left, PIECE))
                if not piece:
                    raise Unavailable("the server ended the snapshot too early; its log says why")
                sink.write(piece)
                left -= len(piece)
            sink.flush()
            os.fsync(sink.fileno())
        connection.disconnect()
    return size


def _announced(line: socket.socket) -> int:
    """Size of the snapshot in bytes. Until it is ready, the server sends empty lines."""
    text = b""
    while not text.endswith(b"\r\n"):
        byte = line.recv(1)
        if not byte:
            raise Unavailable(
                "the server ended the connection instead of sending a snapshot; its log says why"
            )
        text = (text + byte).lstrip(b"\n")
    if not text.startswith(b"$") or not text[1:-2].isdigit():
        answer = text.decode(errors="replace").strip()
        raise ConfigError(
            f"the server refuses the snapshot ({answer}); the user in REDIS_URL needs the "
            "permission +sync"
        )
    return int(text[1:-2])


@contextmanager
def _loaded(file: Path) -> Iterator[redis.Redis]:
    """A client of an embedded server that has loaded the file, for the database with the store."""
    with file.open("rb") as head:
        if not head.read(6).startswith(MAGIC):
            raise ConfigError(f"{file} is no backup: it does not begin like a Redis snapshot")
    with tempfile.TemporaryDirectory(prefix="promptmill-restore-") as name:
        folder = Path(name)
        (folder / "redis").mkdir()
        (folder / "redis" / "dump.rdb").symlink_to(file.absolute())
        server = Valkey(folder, durable=False)
        url = server.start()
        try:
            with connect(_database(url, file), socket_timeout=PATIENCE) as client:
                meet_store(client)
                yield client
        finally:
            server.stop()


def _database(url: str, file: Path) -> str:
    """The URL of the database that has promptmill's records."""
    with connect(url) as client:
        numbers = [
            int(name.removeprefix("db"))
            for name in client.info("keyspace")
            if name.startswith("db")
        ]
    found = []
    for number in numbers:
        with connect(url, db=number) as client:
            if client.exists(keys.TENANTS, keys.MODELS, keys.VERSION):
                found.append(number)
    if len(found) != 1:
        raise ConfigError(f"{file} has {len(found)} stores of promptmill; it must have one")
    return url.removesuffix("/0") + f"/{found[0]}"


def _check_target(target: redis.Redis, replace: bool) -> None:
    """Refuse a store with records. A restore that was interrupted may be repeated."""
    compatible = int(target.hget(keys.VERSION, "compatible") or 0)
    if compatible == keys.RESTORING:
        return
    meet_store(target)
    other = next(
        (
            name
            for name in target.scan_iter(EVERYTHING, count=1000)
            if name.decode() != keys.VERSION
        ),
        None,
    )
    if other and not replace:
        raise ConfigError(
            "the store is not empty; with `--replace` its content is deleted, and the backup takes "
            "its place"
        )


def _release_items(source: redis.Redis) -> None:
    """Put the items that ran back into the queue: their workers do not exist any more, or have
    another id. Delete the sessions, some of which have ended since: browsers must log in again."""
    for incarnation in source.zrange(keys.WORKERS, 0, -1):
        Scripts(source).release(incarnation=incarnation.decode(), max_attempts=0)
    for pattern in LOGINS:
        for name in source.scan_iter(pattern, count=1000):
            source.delete(name)


def _clear(target: redis.Redis) -> None:
    names = []
    for name in target.scan_iter(EVERYTHING, count=1000):
        if name.decode() != keys.VERSION:
            names.append(name)
        if len(names) == 1000:
            target.unlink(*names)
            names = []
    if names:
        target.unlink(*names)


def _copy(source: redis.Redis, target: redis.Redis) -> int:
    """Copy every record with its time to live, up to 8 MiB of them at once, or a larger one alone.
    Returns how many they were."""
    count, size, pipe = 0, 0, target.pipeline(transaction=False)
    for name in source.scan_iter(EVERYTHING, count=1000):
        if name.decode() == keys.VERSION:
            continue
        record, expires = source.dump(name), source.pexpiretime(name)
        if record is None:  # it has expired
            continue
        if size and size + len(record) > SENT:
            pipe.execute()
            size = 0
        pipe.restore(name, max(0, expires), record, replace=True, absttl=expires > 0)
        count, size = count + 1, size + len(record)
    pipe.execute()
    return count
