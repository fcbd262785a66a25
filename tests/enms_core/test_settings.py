from pathlib import Path

import pytest

from enms_core.settings import Settings


def test_nothing_set_gives_an_embedded_plant(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    settings = Settings.from_env({})
    assert settings.home.is_absolute()
    assert settings.database_url == f"sqlite:///{settings.home / 'enms.db'}"
    assert settings.redis_url is None
    assert (settings.source, settings.auth, settings.log_level) == ("simulator", "none", "INFO")


def test_empty_is_unset():
    assert Settings.from_env({"ENMS_REDIS_URL": "", "ENMS_SOURCE": "", "ENMS_AUTH": ""}) == (
        Settings.from_env({})
    )


def test_a_home_is_absolute_and_knows_the_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings.from_env({"ENMS_HOME": "~/plant"}).home == tmp_path / "plant"
    monkeypatch.chdir(tmp_path)
    assert Settings.from_env({"ENMS_HOME": "plant"}).home == tmp_path / "plant"


@pytest.mark.parametrize(
    ("variable", "value", "right"),
    [
        ("ENMS_AUTH", "maybe", "none, basic, oauth"),
        ("ENMS_LOG_LEVEL", "LOUD", "DEBUG, INFO, WARNING, ERROR"),
        ("ENMS_SOURCE", "mqtt", "simulator, replay:FILE or none"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(variable, value, right):
    with pytest.raises(ValueError, match=f"{variable} is '{value}'.*{right}"):
        Settings.from_env({variable: value})


def test_the_log_level_may_be_written_small():
    assert Settings.from_env({"ENMS_LOG_LEVEL": "debug"}).log_level == "DEBUG"


@pytest.mark.parametrize(
    "env",
    [
        {"ENMS_HOME": "/srv/enms"},
        {
            "ENMS_HOME": "/srv/a b",
            "ENMS_DATABASE_URL": "postgresql+psycopg://u:p%40@db/enms?sslmode=require",
            "ENMS_REDIS_URL": "redis://:secret@cache:6379/3",
            "ENMS_SOURCE": "replay:/data/steel.csv",
            "ENMS_AUTH": "basic",
            "ENMS_LOG_LEVEL": "WARNING",
        },
    ],
)
def test_a_child_process_gets_the_same_settings(env):
    settings = Settings.from_env(env)
    assert Settings.from_env(settings.environment()) == settings


def test_settings_do_not_change(settings):
    with pytest.raises(AttributeError):
        settings.home = Path("/")
