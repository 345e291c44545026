"""Settings are read from the environment; wrong and unknown ones are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConfigError
from common.settings import Settings, variable


def test_redis_url_has_no_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    assert Settings.load().redis_url == "redis://127.0.0.1:1/0"


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Settings.load()
    for name, field in Settings.model_fields.items():
        if field.annotation is not str:
            monkeypatch.setenv(variable(name), "")
    assert Settings.load() == expected


def test_a_misspelt_setting_is_refused_with_the_right_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTMILL_SLOT", "4")
    with pytest.raises(
        ConfigError, match="PROMPTMILL_SLOT is no setting; did you mean PROMPTMILL_SLOTS"
    ):
        Settings.load()
    monkeypatch.delenv("PROMPTMILL_SLOT")
    monkeypatch.setenv("PROMPTMILL_FOO", "4")
    with pytest.raises(ConfigError, match=r"PROMPTMILL_FOO is no setting$"):
        Settings.load()


def test_a_name_that_shares_only_the_prefix_is_not_suggested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROMPTMILL_LORA", "law=/data/law")
    with pytest.raises(ConfigError, match=r"PROMPTMILL_LORA is no setting$"):
        Settings.load()


def test_a_long_wrong_value_is_shortened_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTMILL_VLLM_ARGS", "[" * 5000)
    with pytest.raises(ConfigError, match=r"PROMPTMILL_VLLM_ARGS='\[+…: is no JSON") as caught:
        Settings.load(engine="vllm")
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("name", ["MODEL", "SERVED_NAME"])
def test_a_model_has_a_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"PROMPTMILL_{name}", " ")
    with pytest.raises(ConfigError, match=f"PROMPTMILL_{name}=' ': must "):
        Settings.load()


def test_an_empty_model_is_not_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTMILL_MODEL", "")
    with pytest.raises(ConfigError, match="PROMPTMILL_MODEL='': must be a hub id, a local folder"):
        Settings.load()


def test_a_setting_out_of_bounds_names_itself_and_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROMPTMILL_SLOTS", "0")
    with pytest.raises(ConfigError, match=r"PROMPTMILL_SLOTS='0'.*greater than or equal to 1"):
        Settings.load()


def test_heartbeats_must_fit_thrice_into_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTMILL_HEARTBEAT", "2")
    with pytest.raises(ConfigError, match="at most a third"):
        Settings.load()


def test_a_folder_serves_under_its_own_name_and_a_hub_id_under_itself(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    assert Settings.load(model=str(folder)).model_name == "tiny"
    assert Settings.load(model="org/model").model_name == "org/model"
    assert Settings.load(model=str(folder), served_name="mine").model_name == "mine"


@pytest.mark.parametrize("url", ["", "queue:6379", "http://queue:6379"])
def test_a_redis_url_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(ConfigError, match=r"REDIS_URL=.*must begin with redis://"):
        Settings.load()


@pytest.mark.parametrize(
    ("given", "base_url", "prefix"),
    [
        ("https://queue.example.org", "https://queue.example.org", ""),
        ("https://Queue.Example.org:443/", "https://queue.example.org", ""),
        ("http://box:80", "http://box", ""),
        ("http://box:443", "http://box:443", ""),
        ("https://example.org/mill", "https://example.org/mill", "/mill"),
        ("https://example.org/a/b-c.d/", "https://example.org/a/b-c.d", "/a/b-c.d"),
        ("http://[::1]:8000/mill", "http://[::1]:8000/mill", "/mill"),
        ("http://[2001:DB8::0:1]", "http://[2001:db8::1]", ""),
        ("https://bücher.example", "https://xn--bcher-kva.example", ""),
        ("http://under_score:8000", "http://under_score:8000", ""),
        ("", "http://127.0.0.1:8000", ""),
    ],
)
def test_the_public_url_is_written_in_one_way(
    monkeypatch: pytest.MonkeyPatch, given: str, base_url: str, prefix: str
) -> None:
    monkeypatch.setenv("PROMPTMILL_PUBLIC_URL", given)
    settings = Settings.load()
    assert (settings.base_url, settings.prefix) == (base_url, prefix)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("queue.example.org", "must begin with http:// or https://"),
        ("ftp://queue.example.org", "must begin with http:// or https://"),
        ("javascript:alert(1)", "must begin with http:// or https://"),
        ("https://", "no good host"),
        ("https:///mill", "no good host"),
        ("https://a b", "a space"),
        ("https://queue.example.org\n/x", "a control character"),
        ("https://queue\\@evil", "a backslash"),
        ("https://me:secret@queue.example.org", "no user"),
        ("https://queue.example.org?x=1", "no user, query or fragment"),
        ("https://queue.example.org/#x", "no user, query or fragment"),
        ("https://queue.example.org:0", "no good port"),
        ("https://queue.example.org:70000", "Port out of range"),
        ("https://queue.example.org:http", "Port could not be cast"),
        ("https://[::1", "Invalid IPv6 URL"),
        ("https://[x]", "is no URL"),
        ("https://-x-", "no good host"),
        ("https://queue.example.org/../x", "a path with"),
        ("https://queue.example.org/a//b", "a path with"),
        ("https://queue.example.org/a;b", "a path with"),
        ("https://queue.example.org/%2e%2e", "a path with"),
    ],
)
def test_a_public_url_that_is_nonsense_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, given: str, why: str
) -> None:
    monkeypatch.setenv("PROMPTMILL_PUBLIC_URL", given)
    with pytest.raises(ConfigError, match=rf"PROMPTMILL_PUBLIC_URL=.*{why}"):
        Settings.load()


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("::1", "[::1]"),
        ("[::1]", "[::1]"),
        ("::", "[::1]"),
        ("0.0.0.0", "127.0.0.1"),
        ("box", "box"),
    ],
)
def test_an_ipv6_host_stands_in_brackets_in_addresses(
    monkeypatch: pytest.MonkeyPatch, host: str, local: str
) -> None:
    monkeypatch.setenv("PROMPTMILL_HOST", host)
    settings = Settings.load()
    assert settings.base_url == settings.local_url == f"http://{local}:8000"
    assert "[" not in settings.host


@pytest.mark.parametrize(
    "host", ["", "a b", "http://box", "box:8000", "[::1]:8000", "[box]x", "a/b"]
)
def test_a_host_that_is_none_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("PROMPTMILL_HOST", host)
    with pytest.raises(ConfigError, match=r"PROMPTMILL_HOST=.*no good host"):
        Settings.load()


def test_the_echo_engine_serves_as_echo_unless_a_model_is_named() -> None:
    assert Settings.load(engine="echo").model_name == "echo"
    assert Settings.load(engine="echo", model="org/model").model_name == "org/model"


def test_aliases_are_pairs_of_names() -> None:
    found = Settings.load(model_aliases="gpt-4o-mini=org/model, gpt-4o = org/model,").aliases
    assert found == {"gpt-4o-mini": "org/model", "gpt-4o": "org/model"}
    assert Settings.load().aliases == {}


@pytest.mark.parametrize(
    ("aliases", "said"),
    [
        ("gpt-4o", "'gpt-4o' must be ALIAS=NAME"),
        ("=model", "must be ALIAS=NAME"),
        ("gpt-4o=", "must be ALIAS=NAME"),
        ("a" * 257 + "=model", "at most 256"),
        ("a=model,a=other", "'a' is there twice"),
        ("a=b,b=model", "b is an alias itself"),
        ("a=a", "a is an alias itself"),
    ],
)
def test_aliases_that_lead_nowhere_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, aliases: str, said: str
) -> None:
    monkeypatch.setenv("PROMPTMILL_MODEL_ALIASES", aliases)
    with pytest.raises(ConfigError, match=rf"PROMPTMILL_MODEL_ALIASES=.*{said}"):
        Settings.load()


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
    assert variable("slots") == "PROMPTMILL_SLOTS"


def test_the_documentation_lists_every_setting_with_its_default() -> None:
    page = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, "") else f"`{field.default}`"
        assert f"| `{variable(name)}` | {default} | {field.description} |" in page
