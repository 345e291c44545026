"""Three servers with Sentinels that watch over them."""

from __future__ import annotations

from pathlib import Path

import redis

from cli.valkey import free_port
from tests.support.valkey import RedisServer, ServerProcess
from tests.support.waiting import wait_until

SERVICE = "mill"
PASSWORD = "pass/word"


class Cluster:
    """A primary, two replicas and three Sentinels, all with a password; writes need a replica."""

    def __init__(self, folder: Path):
        options = {
            "requirepass": f'"{PASSWORD}"',
            "masterauth": f'"{PASSWORD}"',
            "min-replicas-to-write": "1",
        }
        options |= {"min-replicas-max-lag": "3", "repl-ping-replica-period": "1"}
        self.servers = [RedisServer(folder / "0", **options)]
        of = {"replicaof": f"127.0.0.1 {self.servers[0].port}"}
        self.servers += [RedisServer(folder / str(n), **options, **of) for n in (1, 2)]
        for server in self.servers:
            server.start()
        self._ports = [free_port() for _ in range(3)]
        lines = [
            "bind 127.0.0.1",
            f"requirepass {SERVICE}",
            f"sentinel sentinel-pass {SERVICE}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.servers[0].port} 2",
            f'sentinel auth-pass {SERVICE} "{PASSWORD}"',
            f"sentinel down-after-milliseconds {SERVICE} 1500",
            f"sentinel failover-timeout {SERVICE} 6000",
        ]
        self._sentinels = [
            ServerProcess(folder / f"sentinel-{port}", "--sentinel") for port in self._ports
        ]
        for sentinel, port in zip(self._sentinels, self._ports, strict=True):
            sentinel.begin([f"port {port}", *lines])
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        password = PASSWORD.replace("/", "%2F")
        self.url = f"redis+sentinel://:{password}@{hosts}/{SERVICE}/1?sentinel_password={SERVICE}"
        wait_until(self._is_whole)

    def primary(self) -> RedisServer:
        """The server that the Sentinels name now."""
        with redis.Redis(port=self._ports[0], password=SERVICE, decode_responses=True) as sentinel:
            _, port = sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(server for server in self.servers if server.port == int(port))

    def _is_whole(self) -> bool:
        try:
            with redis.Redis(port=self._ports[-1], password=SERVICE) as sentinel:
                seen = sentinel.sentinel_master(SERVICE)
            with self.servers[0].client(password=PASSWORD) as client:
                online = [
                    client.info("replication").get(f"slave{n}", {}).get("state") for n in (0, 1)
                ]
        except redis.RedisError:
            return False
        return bool(
            online == ["online", "online"]
            and seen["num-slaves"] == 2
            and seen["num-other-sentinels"] == 2
        )

    def stop(self) -> None:
        for process in (*self._sentinels, *self.servers):
            process.kill()
