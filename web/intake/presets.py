"""Presets: the built-in ones, a tenant's own, and what a job gets from one.

A preset is written as a job is: what the job says itself goes over it.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files

from common.errors import Conflict, InvalidRequest, NotFound, TooLarge
from common.params import SamplingParams
from common.prompting.prepare import Preparation
from common.spelled import spelled
from common.store.job_prep import JobPrep
from common.store.packing import json_text
from common.store.records import reading
from common.structured.output_format import OutputFormat
from evals.registry import METRICS
from web.intake.preparation import prep_of
from web.schemas.presets import (
    MOST_BODY,
    VERSION,
    PresetBody,
    PresetHead,
    PresetMade,
    name_fault,
)
from web.schemas.requests import JobOptions
from web.services.grammars import Asked
from web.services.services import Services

# In the order in which people are shown them.
BUILTIN = (
    *("complete", "chat", "translate", "summarise", "answer", "classify"),
    *("extract", "rewrite", "code", "reply", "recommend", "clause"),
)
PREPARES = ("template", "clean", "truncate")
REPLACED = (*PREPARES, "metrics")  # a job's own replace the preset's; params are merged


@dataclass(frozen=True)
class Preset:
    """One version of a preset. `created_at` in ms, 0 for the built-in ones; `versions` are all
    there are."""

    name: str
    version: int
    versions: tuple[int, ...]
    body: PresetBody
    created_at: int = 0
    is_builtin: bool = False


@cache
def builtin_preset(name: str) -> Preset:
    """One of `BUILTIN`."""
    text = (files("web.intake") / "builtin" / f"{name}.toml").read_text(encoding="utf-8")
    body = PresetBody.model_validate(tomllib.loads(text))
    return Preset(name, 1, (1,), body, is_builtin=True)


def find_preset(services: Services, tenant: str, reference: str) -> Preset:
    """The preset of a name or of `name@version`; without a version the newest.

    Raises:
        NotFound: there is none, or it is another tenant's; the message names similar ones.
    """
    name, at, number = spelled(reference).partition("@")
    try:
        return _found(services, tenant, name, number if at else None)
    except NotFound:
        known = [*BUILTIN, *(each.name for each in services.presets.all(tenant))]
        raise NotFound(
            _missing(name, number if at else None, known),
            code="preset_not_found",
            field="preset",
        ) from None


def _found(services: Services, tenant: str, name: str, number: str | None) -> Preset:
    if number is not None and not VERSION.fullmatch(number):
        raise NotFound("no such version")
    if name in BUILTIN:
        preset = builtin_preset(name)
        if number not in (None, str(preset.version)):
            raise NotFound("no such version")
        return preset
    stored = services.presets.get(tenant, name)
    version = int(number) if number else stored.newest.version
    about = next((each for each in stored.versions if each.version == version), None)
    if about is None:
        raise NotFound("no such version")
    body = services.presets.body(tenant, name, version)
    # Earlier versions kept any name.
    known = [
        each for each in body.get("metrics", []) if not isinstance(each, str) or each in METRICS
    ]
    with reading(f"preset {name}"):
        said = PresetBody.model_validate({**body, "metrics": known})
    numbers = tuple(each.version for each in stored.versions)
    return Preset(name, version, numbers, said, about.created_at)


def _missing(name: str, number: str | None, known: list[str]) -> str:
    if number is not None and name in known:
        return (
            f"preset {name[:80]!r} has no version {number[:16]!r}; "
            f"GET /v1/presets/{name[:80]} lists those there are"
        )
    near = difflib.get_close_matches(name[:80], known, n=3, cutoff=0.6)
    hint = f"near it are {', '.join(near)}" if near else "GET /v1/presets lists those there are"
    return f"no preset {name[:80]!r}; {hint}"


def resolve_preset(services: Services, tenant: str, options: JobOptions) -> JobOptions:
    """The options with what their preset says where they say nothing; `preset` then names the
    version. Params are merged by name; a template and lists replace the preset's.

    Raises:
        NotFound: there is no such preset.
    """
    if options.preset is None:
        return options
    preset = find_preset(services, tenant, options.preset)
    given = preset.body.params.model_dump(exclude_unset=True)
    params = SamplingParams.model_validate(given | options.params.model_dump(exclude_unset=True))
    more = {
        name: getattr(preset.body, name)
        for name in REPLACED
        if name in preset.body.model_fields_set and name not in options.model_fields_set
    }
    named = f"{preset.name}@{preset.version}"
    return options.model_copy(update={"params": params, "preset": named, **more})


def keep_preset(services: Services, tenant: str, name: str, body: PresetBody) -> PresetMade:
    """Keep a new version of a tenant's preset, and answer its name and number. The same content as
    in the newest version makes no other.

    Raises:
        InvalidRequest: this cannot be a name, the template cannot be read, or all of it is too
            large.
        Conflict: a built-in preset has the name, or there are as many as may be.
    """
    name = spelled(name)
    if fault := name_fault(name):
        raise InvalidRequest(f"the name of a preset {fault}", code="invalid_value", field="name")
    _refuse_builtin(name)
    Preparation.of(_prep(body))  # a template that cannot be read is of no use
    _refuse_output(services, tenant, body.params.output)
    said = body.model_dump(mode="json", exclude_unset=True)
    size = len(json_text(said).encode())
    if size > MOST_BODY:
        raise TooLarge(f"the preset has {size:,} bytes as JSON; it may have {MOST_BODY:,}")
    version = services.presets.put(tenant, name, said, services.settings.max_stored_bytes)
    return PresetMade(name=name, version=version)


def _refuse_output(services: Services, tenant: str, output: OutputFormat | None) -> None:
    """
    Raises:
        InvalidRequest: no model could honour this format.
    """
    error = services.grammars.check(tenant, Asked(output)).error if output else None
    if error:
        raise InvalidRequest(error["message"], code=error["code"], field=error.get("field"))


def _prep(body: PresetBody) -> JobPrep:
    """How a job of this preset makes its prompts."""
    given = {name: getattr(body, name) for name in PREPARES}
    return prep_of(JobOptions.model_validate({}).model_copy(update=given))


def delete_preset(services: Services, tenant: str, reference: str) -> None:
    """Delete a version, or without one all. Jobs that were made with it keep what it said.

    Raises:
        NotFound: there is none.
        Conflict: it is a built-in one.
    """
    name, at, number = spelled(reference).partition("@")
    _refuse_builtin(name)
    known = not at or VERSION.fullmatch(number)
    if not known or not services.presets.delete(tenant, name, int(number) if at else None):
        raise NotFound(f"no preset {reference[:80]!r}")


def all_presets(services: Services, tenant: str) -> Iterator[PresetHead]:
    """The newest version of each of a tenant's own presets, by name, then the built-in ones."""
    for stored in services.presets.all(tenant):
        newest = stored.newest
        yield PresetHead(
            name=stored.name,
            version=newest.version,
            task=newest.task,
            title=newest.title,
            builtin=False,
            created_at=_moment(newest.created_at),
        )
    for name in BUILTIN:
        yield head_of(builtin_preset(name))


def head_of(preset: Preset) -> PresetHead:
    """What lists show of it."""
    return PresetHead(
        name=preset.name,
        version=preset.version,
        task=preset.body.task,
        title=preset.body.title,
        builtin=preset.is_builtin,
        created_at=None if preset.is_builtin else _moment(preset.created_at),
    )


def _moment(ms: int) -> datetime:
    """A time of the Redis server's clock."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def _refuse_builtin(name: str) -> None:
    if name in BUILTIN:
        raise Conflict(
            f"{name} is a built-in preset and stays as it is; take another name for your own",
            code="preset_reserved",
            field="name",
        )
