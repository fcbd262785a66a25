"""The families of detectors, each with a contract of its own that tests check on every member."""

from enms_core.detection.forest import ForestDetector
from enms_core.detection.machine import MachineDetector
from enms_core.detection.stream import StreamDetector

DETECTORS = {"stream": StreamDetector}
MACHINE_DETECTORS = {"forest": ForestDetector, "machine": MachineDetector}
