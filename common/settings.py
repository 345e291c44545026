"""Every setting, read from the environment once and validated at start.

Each is an environment variable `PROMPTMILL_<NAME>`; the Redis address is `REDIS_URL`. A variable
with our prefix that names no setting is refused, so that a misspelt one never goes unnoticed.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.allowed import Allowed
from common.errors import ConfigError
from common.ids import MODEL
from common.model_names import own_name
from common.networks import Network, parse_networks
from common.store.address import Address, without_secrets
from common.urls import host_name, in_url, parse_origins, web_url

LONGEST_NAME = 256  # characters of a model's name, as requests may have it

# Read by the command line (where the server is, with which key, whose child this is), not by the
# parts.
CLI_VARIABLES = {"PROMPTMILL_URL", "PROMPTMILL_API_KEY", "PROMPTMILL_PARENT"}
# Where a web tier that listens everywhere is reached from its own machine.
SEEN_FROM_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class Settings(BaseSettings):
    """One frozen object; `Settings.load()` is the only way in."""

    model_config = SettingsConfigDict(
        env_prefix="PROMPTMILL_", frozen=True, extra="ignore", populate_by_name=True
    )

    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        validation_alias=AliasChoices("REDIS_URL", "redis_url"),
        description=(
            "Redis >= 7.0 or Valkey >= 7.2; one instance or one with Sentinels, not Cluster."
        ),
    )
    server_bytes: int | None = Field(
        None,
        ge=0,
        description="Bytes of memory that the server which `up` or compose starts may take, then "
        "it refuses new work; "
        "half of the machine's if empty, 0: no limit.",
    )
    replicas: int = Field(
        0,
        ge=0,
        le=9,
        description="Replicas of the server that must have what is promised before it is.",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Log lines for people or for machines."
    )
    cache: Path = Field(Path("~/.cache/promptmill"), description="Where the demo model is kept.")

    # The worker
    model: str = Field(
        "smollm2-135m", description="Hub id, local folder, `smollm2-135m` or `echo`."
    )
    model_defaults: Literal["on", "off"] = Field(
        "on",
        description="Whether the model's own generation_config.json gives the settings that a job "
        "leaves out. "
        "`off`: everybody's defaults do.",
    )
    context: int | None = Field(
        None,
        ge=2,
        le=2**20,
        description="Tokens a prompt and its answer may have together, for models that do not say "
        "it (mamba, rwkv, "
        "bloom), or less than they say. Without it: what the model says, else its tokenizer, else "
        "512.",
    )
    served_name: str | None = Field(
        None, description="Name that jobs use for the model; its own name if empty."
    )
    engine: Literal["auto", "native", "generate", "echo"] = Field(
        "auto", description="How the model is run."
    )
    device: str = Field("auto", description="`cuda`, `cpu`, or `auto`: CUDA if there is one.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="`auto`: bfloat16 where the device has it natively, else float32. "
        '"Same seed, same text" holds in float32 only.',
    )
    slots: int | None = Field(
        None, ge=1, le=4096, description="Sequences at once; 32 on a CPU, 256 on a GPU if empty."
    )
    interactive_slots: int | None = Field(
        None,
        ge=0,
        le=4095,
        description="Slots kept for chats and completions; an eighth of all if empty.",
    )
    echo_delay: float = Field(
        0.0, ge=0, le=60, description="Seconds a token takes the echo engine."
    )
    echo_fail_on: str | None = Field(
        None, description="The echo engine fails items whose prompt contains this."
    )
    lease: float = Field(
        5.0,
        ge=1,
        le=300,
        description="Seconds without a heartbeat after which a worker's items go on.",
    )
    heartbeat: float = Field(
        1.0, ge=0.1, le=60, description="Seconds between heartbeats; at most a third of the lease."
    )
    wedge_limit: float = Field(
        60.0,
        ge=1,
        le=3600,
        description=(
            "Seconds an engine step may take before the worker ends; ten warm-ups at least."
        ),
    )
    grace: float = Field(
        20.0, ge=0, le=3600, description="Seconds a worker may finish what it holds after SIGTERM."
    )
    max_attempts: int = Field(
        3, ge=1, le=20, description="Workers an item may lose before it fails as `worker_lost`."
    )

    # The web tier
    model_aliases: str = Field(
        "",
        description="Other names for models, for clients that hard-code theirs: `ALIAS=NAME`, "
        "comma-separated. "
        "A worker's own name is refused as an alias.",
    )
    host: str = Field("127.0.0.1", description="Address the web tier listens on.")
    port: int = Field(8000, ge=1, le=65535, description="Port the web tier listens on.")
    web_processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes of the web tier: while one works, the others answer. `up` starts 2 "
        "where there are two "
        "cores.",
    )
    public_url: str | None = Field(
        None,
        description=(
            "How users reach the web tier, for links and cookies; it may have a path. "
            "Host and port if empty."
        ),
    )
    trusted_proxies: str = Field(
        "",
        description="Comma-separated addresses and networks of reverse proxies, whose "
        "X-Forwarded-For, -Proto and "
        "-Host are believed.",
    )
    cors_origins: str = Field(
        "",
        description="Comma-separated origins (https://app.example.org) whose pages may call the "
        "API with a key; `*` "
        "for all. Never with the session's cookie.",
    )
    max_upload_bytes: int = Field(200 * 2**20, ge=1024, description="Largest request body.")
    max_items: int = Field(100_000, ge=1, le=10_000_000, description="Most items of one job.")
    max_item_tokens: int = Field(
        131_072, ge=1, description="Cap of n x (prompt tokens + max_tokens) per item."
    )
    max_queued_items: int = Field(
        1_000_000, ge=0, description="Items a tenant may have waiting; 0 for no limit."
    )
    max_queued_tokens: int = Field(
        2_000_000_000, ge=0, description="Tokens a tenant's waiting items may need; 0: no limit."
    )
    max_queued_bytes: int = Field(
        2 * 2**30, ge=0, description="Bytes a tenant's waiting items may take; 0: no limit."
    )
    max_total_items: int = Field(
        10_000_000, ge=0, description="Items all tenants together may have waiting; 0: no limit."
    )
    max_total_tokens: int = Field(
        0, ge=0, description="Tokens all waiting items may need; 0: no limit."
    )
    max_total_bytes: int = Field(
        0, ge=0, description="Bytes all waiting items may take, as stored; 0: no limit."
    )
    max_stored_bytes: int = Field(
        10 * 2**30,
        ge=0,
        description="Bytes of jobs, results and files a tenant may keep, as stored; 0: no limit.",
    )
    max_pending_batches: int = Field(
        200,
        ge=0,
        description="Batches of a tenant that may wait for their validation; 0: no limit.",
    )
    retention_bytes: int = Field(
        0, ge=0, description="Bytes of finished jobs to keep, oldest go first; 0: no limit."
    )
    retention_days: float = Field(7.0, gt=0, le=3650, description="Days a finished job is kept.")

    unknown_fields: Literal["online", "refuse", "ignore"] = Field(
        "online",
        description="Fields of chats and completions that nobody knows: `online` ignores them, "
        "names them in the "
        "header x-ignored-params, and refuses them in batches; `refuse` refuses them in both, "
        "`ignore` in neither.",
    )
    max_streams: int = Field(
        500,
        ge=1,
        description=(
            "Event streams and long-polls that a tenant may have open at once, in all web "
            "processes."
        ),
    )
    max_chats: int = Field(
        1500,
        ge=1,
        description=(
            "Chats and completions that a tenant may wait for at once, in all web processes."
        ),
    )
    max_slow_bodies: int = Field(
        64,
        ge=1,
        description=(
            "Request bodies that one address may be sending at once for longer than a second."
        ),
    )
    request_timeout: float = Field(
        600.0, ge=1, le=3600, description="Seconds a chat or completion may take in all."
    )
    worker_wait: float = Field(
        20.0,
        ge=1,
        le=600,
        description="Seconds a chat or completion waits for a worker of its model to come up.",
    )

    # Webhooks
    webhook_allow: str = Field(
        "",
        description=(
            "Private targets that are allowed, separated by commas: host[:port], address, "
            "network/bits."
        ),
    )
    webhook_timeout: float = Field(
        10.0, gt=0, le=60, description="Seconds a receiver may take to answer."
    )
    webhook_attempts: int = Field(8, ge=5, le=20, description="Deliveries tried before giving up.")
    webhook_backoff: float = Field(
        5.0,
        gt=0,
        le=600,
        description="Seconds before the second try; tripled at each, 1 h at most.",
    )

    @field_validator("served_name")
    @classmethod
    def _is_a_name(cls, value: str | None) -> str | None:
        if value and not MODEL.fullmatch(value):
            raise ValueError("must have 1 to 256 characters, none of them a control character")
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: str) -> str:
        Address.parse(value)
        return value

    @field_validator("host")
    @classmethod
    def _is_a_host(cls, value: str) -> str:
        return host_name(value)

    @field_validator("public_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        return web_url(value) if value else None

    @field_validator("trusted_proxies", "cors_origins", "model_aliases", "webhook_allow")
    @classmethod
    def _is_a_good_list(cls, value: str, info: ValidationInfo) -> str:
        LISTS[str(info.field_name)](value)
        return value

    @classmethod
    def load(cls, **overrides: object) -> Settings:
        """Settings from the environment, `overrides` first.

        Raises:
            ConfigError: naming each wrong variable and its bound, or an unknown one and the nearest
            known name.
        """
        refuse_unknown_variables()
        try:
            settings = cls(**overrides)  # type: ignore[arg-type]
            if settings.engine == "echo" and "model" not in settings.model_fields_set:
                # Nobody should take it for the default model.
                settings = settings.model_copy(update={"model": "echo"})
        except ValidationError as error:
            raise ConfigError("; ".join(_explain(entry) for entry in error.errors())) from None
        if settings.heartbeat * 3 > settings.lease:
            raise ConfigError(
                f"PROMPTMILL_HEARTBEAT={settings.heartbeat} must be at most a third of "
                f"PROMPTMILL_LEASE={settings.lease}"
            )
        return settings

    @property
    def trusted_networks(self) -> tuple[Network, ...]:
        return parse_networks(self.trusted_proxies)

    @property
    def origins(self) -> frozenset[str]:
        """Whose pages may call the API; `*` among them: all."""
        return parse_origins(self.cors_origins)

    @property
    def base_url(self) -> str:
        """How users reach the web tier, without a slash at the end."""
        return self.public_url or self.local_url

    @property
    def local_url(self) -> str:
        """Where the web tier listens, seen from its own machine."""
        return f"http://{in_url(SEEN_FROM_HERE.get(self.host, self.host))}:{self.port}"

    @property
    def prefix(self) -> str:
        """The path under which everything is, like `/mill`; empty for none."""
        return urlsplit(self.public_url or "").path

    @property
    def aliases(self) -> dict[str, str]:
        """The name of the model that each alias stands for."""
        return _aliases(self.model_aliases)

    @property
    def model_name(self) -> str:
        """The name that jobs use: `served_name`, else the hub id, else the folder's own name."""
        return self.served_name or own_name(self.model)

    @property
    def is_echo(self) -> bool:
        """Whether workers run the echo engine, which needs no model."""
        return "echo" in (self.model, self.engine)


def _aliases(text: str) -> dict[str, str]:
    """`ALIAS=NAME,…` as a mapping.

    Raises:
        ValueError: an entry is no pair, an alias is there twice, or stands for an alias.
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


# Settings that are lists, each with what reads it and raises `ValueError` for a bad entry.
LISTS: dict[str, Callable[[str], object]] = {
    "trusted_proxies": parse_networks,
    "cors_origins": parse_origins,
    "model_aliases": _aliases,
    "webhook_allow": Allowed.parse,
}


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return "REDIS_URL" if name == "redis_url" else f"PROMPTMILL_{name.upper()}"


def refuse_unknown_variables() -> None:
    known = {variable(name) for name in Settings.model_fields} | CLI_VARIABLES
    for name in sorted(os.environ):
        if name.startswith("PROMPTMILL_") and name not in known:
            # The prefix alone makes half of it alike.
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
            raise ConfigError(
                f"{name} is no setting" + (f"; did you mean {near[0]}?" if near else "")
            )


def _explain(entry) -> str:  # type: ignore[no-untyped-def]  # pydantic's error dictionary
    name = str(entry["loc"][0])
    name = name if name == "REDIS_URL" else variable(name)
    value = without_secrets(entry["input"]) if name == "REDIS_URL" else entry["input"]
    return f"{name}={value!r}: {entry['msg'].removeprefix('Value error, ')}"
