"""Settings: each honoured, or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConfigError
from common.settings import Settings, variable


def test_redis_url_has_no_prefix(monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    assert Settings.load().redis_url == "redis://127.0.0.1:1/0"


def test_a_misspelt_setting_is_refused_with_the_right_name(monkeypatch):
    monkeypatch.setenv("PROMPTMILL_SLOT", "4")
    with pytest.raises(ConfigError, match="PROMPTMILL_SLOT is no setting; did you mean PROMPTMILL_SLOTS"):
        Settings.load()
    monkeypatch.delenv("PROMPTMILL_SLOT")
    monkeypatch.setenv("PROMPTMILL_FOO", "4")
    with pytest.raises(ConfigError, match=r"PROMPTMILL_FOO is no setting$"):
        Settings.load()


def test_a_setting_out_of_bounds_names_itself_and_the_bound(monkeypatch):
    monkeypatch.setenv("PROMPTMILL_SLOTS", "0")
    with pytest.raises(ConfigError, match=r"PROMPTMILL_SLOTS='0'.*greater than or equal to 1"):
        Settings.load()


def test_heartbeats_must_fit_thrice_into_a_lease(monkeypatch):
    monkeypatch.setenv("PROMPTMILL_HEARTBEAT", "2")
    with pytest.raises(ConfigError, match="at most a third"):
        Settings.load()


def test_a_folder_serves_under_its_own_name_and_a_hub_id_under_itself(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    assert Settings.load(model=str(folder)).model_name == "tiny"
    assert Settings.load(model="org/model").model_name == "org/model"
    assert Settings.load(model=str(folder), served_name="mine").model_name == "mine"


@pytest.mark.parametrize("url", ["", "queue:6379", "http://queue:6379"])
def test_a_redis_url_of_another_kind_is_refused(monkeypatch, url):
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(ConfigError, match=r"REDIS_URL=.*must begin with redis://"):
        Settings.load()


def test_the_echo_engine_serves_as_echo_unless_a_model_is_named():
    assert Settings.load(engine="echo").model_name == "echo"
    assert Settings.load(engine="echo", model="org/model").model_name == "org/model"


def test_every_setting_is_described():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
    assert variable("slots") == "PROMPTMILL_SLOTS"


def test_the_documentation_lists_every_setting_with_its_default():
    page = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, "") else f"`{field.default}`"
        assert f"| `{variable(name)}` | {default} | {field.description} |" in page
