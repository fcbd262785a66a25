"""What differs between sites: one frozen dataclass, read once from ``ENMS_*`` and passed down."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import platformdirs

AUTH_MODES = ("none", "basic", "oauth")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True)
class Settings:
    """Settings of one installation.

    >>> settings = Settings.from_env({"ENMS_HOME": "/srv/enms", "ENMS_SOURCE": "none"})
    >>> settings.database_url
    'sqlite:////srv/enms/enms.db'
    >>> Settings.from_env({"ENMS_AUTH": "maybe"})
    Traceback (most recent call last):
    ...
    ValueError: ENMS_AUTH is 'maybe'; it must be one of none, basic, oauth
    """

    home: Path = field(
        metadata={"variable": "ENMS_HOME", "doc": "Folder of store, broker data, secrets and logs."}
    )
    database_url: str = field(
        metadata={"variable": "ENMS_DATABASE_URL", "doc": "SQLAlchemy URL of the store."}
    )
    redis_url: str | None = field(
        metadata={
            "variable": "ENMS_REDIS_URL",
            "doc": "Redis or Valkey to use; the embedded one when unset.",
        }
    )
    source: str = field(
        metadata={
            "variable": "ENMS_SOURCE",
            "doc": "Where readings come from: `simulator`, `replay:FILE` or `none`.",
        }
    )
    auth: str = field(
        metadata={
            "variable": "ENMS_AUTH",
            "doc": "Who may: `none` (loopback only), `basic` or `oauth`.",
        }
    )
    log_level: str = field(
        metadata={"variable": "ENMS_LOG_LEVEL", "doc": "`DEBUG`, `INFO`, `WARNING` or `ERROR`."}
    )

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings from ``ENMS_*``; raise ValueError naming the variable that is wrong."""
        home = Path(env.get("ENMS_HOME") or platformdirs.user_data_dir("enms")).expanduser()
        home = home.absolute()
        return cls(
            home=home,
            database_url=env.get("ENMS_DATABASE_URL") or f"sqlite:///{home / 'enms.db'}",
            redis_url=env.get("ENMS_REDIS_URL") or None,
            source=_source(env.get("ENMS_SOURCE") or "simulator"),
            auth=_one_of("ENMS_AUTH", env.get("ENMS_AUTH") or "none", AUTH_MODES),
            log_level=_one_of(
                "ENMS_LOG_LEVEL", (env.get("ENMS_LOG_LEVEL") or "INFO").upper(), LOG_LEVELS
            ),
        )

    def environment(self) -> dict[str, str]:
        """Return the ``ENMS_*`` variables that give these settings again (for child processes)."""
        values = {f.metadata["variable"]: getattr(self, f.name) for f in fields(self)}
        return {name: str(value) for name, value in values.items() if value is not None}


def _one_of(variable: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{variable} is {value!r}; it must be one of {', '.join(allowed)}")
    return value


def _source(value: str) -> str:
    if value in ("simulator", "none") or value.startswith("replay:"):
        return value
    raise ValueError(f"ENMS_SOURCE is {value!r}; it must be simulator, replay:FILE or none")
