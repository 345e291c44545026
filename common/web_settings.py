"""Settings of the web tier: where it listens, and the limits of what it accepts."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator

from common.networks import Network, parse_networks
from common.urls import host_name, in_url, parse_origins, web_url

LONGEST_NAME = 256  # characters of a model's name, as requests may have it
# How a web tier that listens on all addresses is reached from its own machine.
SEEN_FROM_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class WebSettings(BaseModel):
    """A part of `common.settings.Settings`."""

    model_aliases: str = Field(
        "",
        description="Other names of models, for clients that cannot choose the name: `ALIAS=NAME`, "
        "comma-separated. The name of a served model cannot be an alias.",
    )
    host: str = Field("127.0.0.1", description="Address on which the web tier listens.")
    port: int = Field(8000, ge=1, le=65535, description="Port on which the web tier listens.")
    web_processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes of the web tier: while one is busy, the others answer. `up` starts "
        "2 on a machine with two cores or more.",
    )
    public_url: str | None = Field(
        None,
        description="URL at which users reach the web tier, for links and cookies; it may have a "
        "path. Empty: host and port.",
    )
    trusted_proxies: str = Field(
        "",
        description="Addresses and networks of reverse proxies, comma-separated. Only their "
        "X-Forwarded-For, -Proto and -Host headers are used.",
    )
    operators: str = Field(
        "",
        description="Tenants that may drain workers, which all tenants share, comma-separated. "
        "Empty: none. `up` names its own tenant unless this is set.",
    )
    cors_origins: str = Field(
        "",
        description="Origins (https://app.example.org) whose pages may call the API with a key, "
        "comma-separated; `*`: all. The session cookie is never accepted from other origins.",
    )
    max_upload_bytes: int = Field(200 * 2**20, ge=1024, description="Most bytes of a request body.")
    max_items: int = Field(100_000, ge=1, le=10_000_000, description="Most items of a job.")
    max_item_tokens: int = Field(
        131_072, ge=1, description="Most tokens of an item: n x (prompt tokens + max_tokens)."
    )
    max_queued_items: int = Field(
        1_000_000, ge=0, description="Most items of a tenant in the queue; 0: no limit."
    )
    max_queued_tokens: int = Field(
        2_000_000_000,
        ge=0,
        description="Most tokens that a tenant's items in the queue may need; 0: no limit.",
    )
    max_queued_bytes: int = Field(
        2 * 2**30,
        ge=0,
        description="Most bytes of a tenant's items in the queue, as stored; 0: no limit.",
    )
    max_total_items: int = Field(
        10_000_000, ge=0, description="Most items of all tenants in the queue; 0: no limit."
    )
    max_total_tokens: int = Field(
        0, ge=0, description="Most tokens that all items in the queue may need; 0: no limit."
    )
    max_total_bytes: int = Field(
        0, ge=0, description="Most bytes of all items in the queue, as stored; 0: no limit."
    )
    max_stored_bytes: int = Field(
        10 * 2**30,
        ge=0,
        description="Most bytes of a tenant's jobs, results, scores, files, presets and studies, "
        "as stored; 0: no limit.",
    )
    max_pending_batches: int = Field(
        200, ge=0, description="Most batches of a tenant that wait for validation; 0: no limit."
    )
    retention_bytes: int = Field(
        0,
        ge=0,
        description="Most bytes of finished jobs; above it the oldest are deleted. 0: no limit.",
    )
    retention_days: float = Field(
        7.0, gt=0, le=3650, description="Days after which a finished job is deleted."
    )
    unknown_fields: Literal["online", "refuse", "ignore"] = Field(
        "online",
        description="Unknown fields of chats and completions: `online` ignores them, names them in "
        "the header x-ignored-params, and refuses them in batches; `refuse` refuses them always; "
        "`ignore` ignores them always.",
    )
    max_streams: int = Field(
        500,
        ge=1,
        description="Most event streams and long-polls of a tenant at the same time, in all web "
        "processes.",
    )
    max_chats: int = Field(
        1500,
        ge=1,
        description="Most chats and completions of a tenant at the same time, in all web "
        "processes.",
    )
    max_slow_bodies: int = Field(
        64,
        ge=1,
        description="Most request bodies of one address that take longer than a second, at the "
        "same time.",
    )
    request_timeout: float = Field(
        600.0, ge=1, le=3600, description="Seconds after which a chat or completion fails."
    )
    worker_wait: float = Field(
        20.0,
        ge=1,
        le=600,
        description="Seconds that a chat or completion waits for a worker of its model to start.",
    )

    @field_validator("host")
    @classmethod
    def _check_host(cls, value: str) -> str:
        return host_name(value)

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        return web_url(value) if value else None

    @field_validator("trusted_proxies")
    @classmethod
    def _check_trusted_proxies(cls, value: str) -> str:
        parse_networks(value)
        return value

    @field_validator("cors_origins")
    @classmethod
    def _check_cors_origins(cls, value: str) -> str:
        parse_origins(value)
        return value

    @field_validator("model_aliases")
    @classmethod
    def _check_model_aliases(cls, value: str) -> str:
        parse_aliases(value)
        return value

    @property
    def trusted_networks(self) -> tuple[Network, ...]:
        return parse_networks(self.trusted_proxies)

    @property
    def origins(self) -> frozenset[str]:
        """The origins whose pages may call the API; `*` stands for all."""
        return parse_origins(self.cors_origins)

    @property
    def base_url(self) -> str:
        """The URL at which users reach the web tier, without a slash at the end."""
        return self.public_url or self.local_url

    @property
    def local_url(self) -> str:
        """The URL of the web tier for programs on its own machine."""
        return f"http://{in_url(SEEN_FROM_HERE.get(self.host, self.host))}:{self.port}"

    @property
    def prefix(self) -> str:
        """The path that all URLs begin with, such as `/mill`; empty for none."""
        return urlsplit(self.public_url or "").path

    @property
    def aliases(self) -> dict[str, str]:
        """The model's name for each alias."""
        return parse_aliases(self.model_aliases)


def parse_aliases(text: str) -> dict[str, str]:
    """`ALIAS=NAME,…` as a mapping.

    Raises:
        ValueError: an entry is no pair, or an alias is there twice or stands for another alias.
    """
    found: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        alias, equals, name = (part.strip() for part in entry.partition("="))
        if not (alias and equals and name) or max(len(alias), len(name)) > LONGEST_NAME:
            raise ValueError(
                f"{entry[:80]!r} must be ALIAS=NAME, each of at most {LONGEST_NAME} characters"
            )
        if alias in found:
            raise ValueError(f"the alias {alias!r} is there twice")
        found[alias] = name
    for alias, name in found.items():
        if name in found:
            raise ValueError(
                f"{alias}={name}: {name} is an alias itself; name the model that is served"
            )
    return found
