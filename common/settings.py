"""Every setting, read from the environment once and validated at start.

Each is an environment variable `PROMPTMILL_<NAME>`; the Redis address is `REDIS_URL`. Unknown
variables with the prefix are refused, so that a misspelt one is noticed. The settings of the worker
and of the web tier are in files of their own.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.allowed import Allowed
from common.errors import ConfigError
from common.store.address import Address, without_secrets
from common.web_settings import WebSettings
from common.worker_settings import WorkerSettings

# Variables of the command line: the server to call, the key to call it with, the parent process,
# the data folder of `promptmill up`.
CLI_VARIABLES = {"PROMPTMILL_URL", "PROMPTMILL_API_KEY", "PROMPTMILL_PARENT", "PROMPTMILL_DATA"}

MOST_SHOWN = 200  # characters of a wrong value: what is wrong with it comes behind


class Settings(WorkerSettings, WebSettings, BaseSettings):
    """All settings, frozen. `Settings.load()` makes them."""

    model_config = SettingsConfigDict(
        env_prefix="PROMPTMILL_", frozen=True, extra="ignore", populate_by_name=True
    )

    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        validation_alias=AliasChoices("REDIS_URL", "redis_url"),
        description="Redis >= 7.0 or Valkey >= 7.2: one instance, or one with Sentinels; no "
        "Cluster.",
    )
    server_bytes: int | None = Field(
        None,
        ge=0,
        description="Memory limit in bytes of the Redis server that `up` or compose starts; above "
        "it the server refuses new work. Empty: half of the machine's memory; 0: no limit.",
    )
    replicas: int = Field(
        0,
        ge=0,
        le=9,
        description="Number of Redis replicas that must have received a write before it is "
        "acknowledged.",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Format of log lines: `text` for people, `json` for machines."
    )
    cache: Path = Field(
        Path("~/.cache/promptmill"),
        description="Folder that holds the demo model and the compiled kernels.",
    )

    webhook_allow: str = Field(
        "",
        description="Private addresses that webhooks may call, comma-separated: host[:port], "
        "address, network/bits.",
    )
    webhook_timeout: float = Field(
        10.0, gt=0, le=60, description="Seconds a receiver may take to answer."
    )
    webhook_attempts: int = Field(
        8, ge=5, le=20, description="Tries to deliver an event before it is given up."
    )
    webhook_backoff: float = Field(
        5.0,
        gt=0,
        le=600,
        description="Seconds before the second try; three times as long before each further one, "
        "at most 1 h.",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_not_set(cls, value: object, info: ValidationInfo) -> object:
        """Compose files hand on what is not set as an empty text. Texts are checked on their own:
        an empty address must not lead to another server."""
        field = cls.model_fields[info.field_name or ""]
        return field.default if value == "" and field.annotation is not str else value

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: str) -> str:
        Address.parse(value)
        return value

    @field_validator("webhook_allow")
    @classmethod
    def _check_webhook_allow(cls, value: str) -> str:
        Allowed.parse(value)
        return value

    @classmethod
    def load(cls, **overrides: object) -> Settings:
        """Settings from the environment; `overrides` come first.

        Raises:
            ConfigError: names each wrong variable and its limit, or an unknown variable and the
            known one that is nearest.
        """
        refuse_unknown_variables()
        try:
            settings = cls(**overrides)  # type: ignore[arg-type]
        except ValidationError as error:
            raise ConfigError("; ".join(_explain(entry) for entry in error.errors())) from None
        if settings.engine == "echo" and "model" not in settings.model_fields_set:
            # Its answers must not look as if they came from the default model.
            settings = settings.model_copy(update={"model": "echo"})
        if settings.heartbeat * 3 > settings.lease:
            raise ConfigError(
                f"PROMPTMILL_HEARTBEAT={settings.heartbeat} must be at most a third of "
                f"PROMPTMILL_LEASE={settings.lease}"
            )
        settings.refuse_of_other_engines()
        return settings


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return "REDIS_URL" if name == "redis_url" else f"PROMPTMILL_{name.upper()}"


def refuse_unknown_variables() -> None:
    known = {variable(name) for name in Settings.model_fields} | CLI_VARIABLES
    for name in sorted(os.environ):
        if name.startswith("PROMPTMILL_") and name not in known:
            # Without the prefix, which alone makes two names half equal.
            own = name.removeprefix("PROMPTMILL_")
            others = [each.removeprefix("PROMPTMILL_") for each in known]
            near = difflib.get_close_matches(own, others, n=1, cutoff=0.7)
            hint = f"; did you mean PROMPTMILL_{near[0]}?" if near else ""
            raise ConfigError(f"{name} is no setting{hint}")


def _explain(entry: ErrorDetails) -> str:
    name = str(entry["loc"][0])
    name = name if name == "REDIS_URL" else variable(name)
    value = without_secrets(entry["input"]) if name == "REDIS_URL" else entry["input"]
    shown = repr(value) if len(repr(value)) <= MOST_SHOWN else f"{repr(value)[:MOST_SHOWN]}…"
    return f"{name}={shown}: {entry['msg'].removeprefix('Value error, ')}"
