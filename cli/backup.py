"""`promptmill backup FILE` and `promptmill restore FILE`: the whole store as one file, under live
workers.

A backup is the server's own snapshot (RDB), taken as a replica takes it: all of one moment, and all
that was acknowledged before. To restore it, an embedded server loads the file beside the store, and
the records are copied over one by one; until that is done every script is refused. Whatever ran
when the backup was taken waits again afterwards, uncharged: workers that hold items of the time
since then find their lease gone and start over.
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

from cli.folder import DataFolder, data_option, find_settings
from cli.terminal import print_line
from cli.valkey import Valkey
from common.errors import ConfigError, Unavailable
from common.store import keys
from common.store.connection import connect, redis_errors
from common.store.scripts import SCHEMA, Scripts
from common.store.version import meet_store

PIECE = 2**20  # bytes read at once
# Seconds the server may say nothing: it writes its snapshot, or takes a large record.
PATIENCE = 120.0
SENT = 8 * 2**20  # bytes of records copied in one round trip; a larger record goes alone
MAGIC = (b"REDIS", b"VALKEY")
EVERYTHING = f"{keys.PREFIX}*"
LOGINS = [
    keys.PREFIX + rest for rest in ("login:*", "begun:*", "tenant:*:links", "tenant:*:sessions")
]


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@data_option
def backup(file: Path, folder: DataFolder) -> None:
    """Write everything the store holds to FILE, of one moment, while all goes on."""
    if file.exists():
        raise ConfigError(f"{file} exists; name another file, or remove it")
    url = find_settings(folder).redis_url
    draft = file.with_name(file.name + ".part")
    draft.unlink(missing_ok=True)
    try:
        size = _take_snapshot(url, draft)
        draft.rename(file)
    finally:
        draft.unlink(missing_ok=True)
    print_line(f"{file}: {size:,} bytes; it holds keys and secrets and is readable by you alone")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Throw away what the store holds now.")
@data_option
def restore(file: Path, replace: bool, folder: DataFolder) -> None:
    """Put the store back to what FILE holds; it must be empty, or be replaced."""
    target = connect(find_settings(folder).redis_url, socket_timeout=PATIENCE)
    with _loaded(file) as source, redis_errors():
        _check_target(target, replace)
        _let_go(source)
        target.hset(keys.VERSION, mapping={"schema": SCHEMA, "compatible": keys.RESTORING})
        _clear(target)
        count = _copy(source, target)
        target.delete(keys.VERSION)  # the store is open from here on
        meet_store(target)
    print_line(f"{count:,} records restored; workers take what waits by themselves")


def _take_snapshot(url: str, file: Path) -> int:
    """Ask for a replica's snapshot and write it to `file`; answers its bytes. Holds a piece of it
    at a time."""
    client = connect(url, protocol=2, socket_timeout=PATIENCE)
    with client, redis_errors():
        connection = client.connection_pool.get_connection()
        connection.send_command("SYNC")
        line = connection._sock  # the answer is no reply that redis-py could read
        size = _announced(line)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as sink:
            left = size
            while left:
                piece = line.recv(min(left, PIECE))
                if not piece:
                    raise Unavailable("the server broke the snapshot off; its log says why")
                sink.write(piece)
                left -= len(piece)
            sink.flush()
            os.fsync(sink.fileno())
        connection.disconnect()
    return size


def _announced(line: socket.socket) -> int:
    """How many bytes the snapshot has. Until it is ready the server sends empty lines."""
    text = b""
    while not text.endswith(b"\r\n"):
        byte = line.recv(1)
        if not byte:
            raise Unavailable(
                "the server ended the connection instead of sending a snapshot; its log says why"
            )
        text = (text + byte).lstrip(b"\n")
    if not text.startswith(b"$") or not text[1:-2].isdigit():
        said = text.decode(errors="replace").strip()
        raise ConfigError(
            f"the server gives no snapshot ({said}); the user of REDIS_URL needs the permission "
            "+sync"
        )
    return int(text[1:-2])


@contextmanager
def _loaded(file: Path) -> Iterator[redis.Redis]:
    """A server of our own that has loaded the file, as a client of the database that holds the
    store."""
    with file.open("rb") as head:
        if not head.read(6).startswith(MAGIC):
            raise ConfigError(f"{file} is no backup: it does not begin as a Redis snapshot does")
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
    """The URL of the one database that has our records."""
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
        raise ConfigError(f"{file} holds {len(found)} stores of promptmill, and one is wanted")
    return url.removesuffix("/0") + f"/{found[0]}"


def _check_target(target: redis.Redis, replace: bool) -> None:
    """Refuse what would be overwritten. A restore that broke off may be repeated."""
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
            "the store is not empty; `--replace` throws away what it holds and puts the backup in "
            "its place"
        )


def _let_go(source: redis.Redis) -> None:
    """Take what ran from its workers: they are of another time, and get nothing more under their
    names. Sessions that may have ended since then do not begin again: browsers log in anew."""
    for incarnation in source.zrange(keys.WORKERS, 0, -1):
        Scripts(source).release(incarnation.decode(), 0)
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
    """Every record with its time to live; answers how many. Holds 8 MiB of them, or one that is
    larger."""
    count, size, pipe = 0, 0, target.pipeline(transaction=False)
    for name in source.scan_iter(EVERYTHING, count=1000):
        if name.decode() == keys.VERSION:
            continue
        record, expires = source.dump(name), source.pexpiretime(name)
        if record is None:  # its time to live is over
            continue
        if size and size + len(record) > SENT:
            pipe.execute()
            size = 0
        pipe.restore(name, max(0, expires), record, replace=True, absttl=expires > 0)
        count, size = count + 1, size + len(record)
    pipe.execute()
    return count
