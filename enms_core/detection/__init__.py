"""Detection: from readings to surprises, from surprises to anomalies, from anomalies to words.

Stream detectors judge one series reading by reading; machine detectors judge the sensors of one
machine together, after a time of normal operation.

>>> sorted(DETECTORS), sorted(MACHINE_DETECTORS)
(['stream'], ['forest', 'machine'])
"""

from enms_core.detection.episode import Changed, Closed, Episode, EpisodeTracker, Opened
from enms_core.detection.forest import ForestDetector
from enms_core.detection.load import surprise_of_load
from enms_core.detection.machine import MachineDetector
from enms_core.detection.reason import describe, severity
from enms_core.detection.score import Score, false_alarms_per_month, surprise_for
from enms_core.detection.stream import StreamDetector
from enms_core.detection.verdict import blame, confidence, rarity

DETECTORS = {"stream": StreamDetector}
MACHINE_DETECTORS = {"forest": ForestDetector, "machine": MachineDetector}

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
    "false_alarms_per_month",
    "rarity",
    "severity",
    "surprise_for",
    "surprise_of_load",
]
