"""constraints.txt pins every package that pyproject.toml needs, but for vLLM, and no others."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import Requirement

from tests.support.processes import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
PINS = [
    line.partition("#")[0].strip()
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_package_is_pinned_also_those_that_packages_bring() -> None:
    pinned = {canonical(pin.partition("==")[0]) for pin in PINS}
    extras = {name: needs for name, needs in EXTRAS.items() if name != "vllm"}  # pins its own
    groups = [PROJECT["dependencies"], *extras.values()]
    todo = [Requirement(text) for group in groups for text in group]
    seen: set[str] = set()
    while todo:
        requirement = todo.pop()
        name = canonical(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        try:
            todo += [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:  # of an extra that is not installed here
            continue
    cuda = {name for name in seen if name.startswith(("nvidia-", "cuda-")) or name == "triton"}
    assert seen - cuda <= pinned


def test_pins_hold_on_any_machine() -> None:
    for pin in PINS:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][a-z0-9.]*", pin), pin
    assert "torch==2.13.0" in PINS


def test_the_web_tier_pulls_in_no_torch() -> None:
    names = {canonical(Requirement(text).name) for text in PROJECT["dependencies"]}
    assert not names & {"torch", "transformers", "accelerate", "safetensors"}


def test_the_extra_for_vllm_leaves_torch_and_transformers_to_vllm() -> None:
    assert [Requirement(text).name for text in EXTRAS["vllm"]] == ["vllm"]


def test_the_core_takes_what_vllm_brings_and_what_is_pinned() -> None:
    """vLLM 0.32 wants llguidance below 1.8; one of its packages wants numpy below 2.4."""
    ranges = {each.name: each.specifier for each in map(Requirement, PROJECT["dependencies"])}
    assert "1.7.6" in ranges["llguidance"] and "2.3.5" in ranges["numpy"]
    assert "llguidance==1.9.1" in PINS
