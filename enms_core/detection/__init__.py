"""Detection: from readings to surprises, from surprises to anomalies, from anomalies to words.

>>> sorted(DETECTORS)
['stream']
"""

from enms_core.detection.episode import Changed, Closed, Episode, EpisodeTracker, Opened
from enms_core.detection.load import surprise_of_load
from enms_core.detection.reason import describe, severity
from enms_core.detection.score import Score, false_alarms_per_month, surprise_for
from enms_core.detection.stream import StreamDetector

DETECTORS = {"stream": StreamDetector}

__all__ = [
    "DETECTORS",
    "Changed",
    "Closed",
    "Episode",
    "EpisodeTracker",
    "Opened",
    "Score",
    "StreamDetector",
    "describe",
    "false_alarms_per_month",
    "severity",
    "surprise_for",
    "surprise_of_load",
]
