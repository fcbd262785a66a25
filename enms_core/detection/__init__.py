"""Detection: from readings to surprises, from surprises to anomalies, from anomalies to words.

Stream detectors judge one series reading by reading; machine detectors judge the sensors of one
machine together, after a time of normal operation.

>>> from enms_core import detection
>>> sorted(detection.DETECTORS), sorted(detection.MACHINE_DETECTORS)
(['stream'], ['forest', 'machine'])

Names are imported when they are first used: not every part needs scikit-learn's forests.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enms_core.detection.consequence import persistence, severe_from, severity
    from enms_core.detection.episode import Changed, Closed, Episode, EpisodeTracker, Opened
    from enms_core.detection.families import DETECTORS, MACHINE_DETECTORS
    from enms_core.detection.forest import ForestDetector
    from enms_core.detection.load import surprise_of_load
    from enms_core.detection.machine import MachineDetector
    from enms_core.detection.reason import describe
    from enms_core.detection.score import Score, false_alarms_per_month, surprise_for
    from enms_core.detection.stream import StreamDetector
    from enms_core.detection.verdict import blame, confidence, episode_confidence, rarity

_HOME = {
    "Changed": "episode",
    "Closed": "episode",
    "DETECTORS": "families",
    "Episode": "episode",
    "EpisodeTracker": "episode",
    "ForestDetector": "forest",
    "MACHINE_DETECTORS": "families",
    "MachineDetector": "machine",
    "Opened": "episode",
    "Score": "score",
    "StreamDetector": "stream",
    "blame": "verdict",
    "confidence": "verdict",
    "describe": "reason",
    "episode_confidence": "verdict",
    "false_alarms_per_month": "score",
    "persistence": "consequence",
    "rarity": "verdict",
    "severe_from": "consequence",
    "severity": "consequence",
    "surprise_for": "score",
    "surprise_of_load": "load",
}

__all__ = [
    "DETECTORS",
    "MACHINE_DETECTORS",
    "Changed",
    "Closed",
    "Episode",
    "EpisodeTracker",
    "ForestDetector",
    "MachineDetector",
    "Opened",
    "Score",
    "StreamDetector",
    "blame",
    "confidence",
    "describe",
    "episode_confidence",
    "false_alarms_per_month",
    "persistence",
    "rarity",
    "severe_from",
    "severity",
    "surprise_for",
    "surprise_of_load",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
