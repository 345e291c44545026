"""Presets in the form: one fills the fields in, which can be changed then."""

from __future__ import annotations

from collections.abc import Mapping

from common.errors import NotFound
from web.intake.presets import Preset, all_presets, find_preset
from web.pages.metric_fields import METRIC, read_metrics, typed_metrics
from web.pages.output_fields import OUTPUT, typed_output
from web.pages.param_fields import param_fields, typed_value
from web.pages.preparation import typed_preparation
from web.schemas.presets import PresetHead
from web.services.services import Services

USED = "preset.used"  # the input that says which version filled the form in


def preset_heads(services: Services, tenant: str) -> list[PresetHead]:
    """What can be chosen: own presets, then the built-in ones."""
    return list(all_presets(services, tenant))


def fill_in(services: Services, tenant: str, typed: Mapping[str, str]) -> dict[str, str]:
    """What was typed, with the chosen preset's fields in place of what stood there.

    Raises:
        NotFound: there is no such preset.
    """
    name = typed.get("preset", "")
    if not name:
        return {key: value for key, value in typed.items() if key != USED}
    preset = find_preset(services, tenant, name)
    filled, replaced = _typed(preset), ["template.", "clean.", "truncate.", METRIC]
    if preset.body.params.output:
        replaced.append(OUTPUT)
    kept = {key: value for key, value in typed.items() if not key.startswith(tuple(replaced))}
    return {**kept, **filled, USED: f"{preset.name}@{preset.version}"}


def _typed(preset: Preset) -> dict[str, str]:
    body = preset.body
    template = body.template.model_dump(exclude_none=True) if body.template else None
    truncate = body.truncate.model_dump(exclude_none=True) if body.truncate else None
    params = body.params.model_dump(mode="json", exclude_unset=True)
    found = typed_preparation(template, body.clean, truncate)
    found |= typed_output(params) | typed_metrics(body.metrics)
    for field in param_fields():
        if params.get(field.name) is not None:
            found[field.input] = typed_value(field.kind, params[field.name])
    return found


def preset_in_effect(services: Services, tenant: str, typed: Mapping[str, str]) -> str | None:
    """The version that filled the form in, as long as each of its fields still has a value: a field
    that was emptied would else get the preset's value again. None for one that was deleted
    meanwhile."""
    used = typed.get(USED)
    if not used:
        return None
    try:
        filled = _typed(find_preset(services, tenant, used))
    except NotFound:
        return None
    emptied = [name for name in filled if not typed.get(name, "").strip()]
    # Of several metrics some may be left out: a list in the job is taken in place of the preset's.
    if any(not name.startswith(METRIC) for name in emptied) or (
        emptied and not read_metrics(typed)
    ):
        return None
    return used
