"""Operating modes: what a machine was doing, as people and gateways told it."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

IDLE, RUNNING = "idle", "running"
QUIET = {  # nothing is judged in these modes: mode -> what is said of an anomaly that it ends
    "maintenance": "Maintenance began.",
    "fault": "A fault was reported.",
    "offline": "The machine went offline.",
}
MODES = (IDLE, RUNNING, *QUIET)
SETTLE_US = 300_000_000  # so long after a change nothing is judged: machines start and stop slowly

Names = np.ndarray[tuple[int], np.dtype[np.str_]]
Flags = np.ndarray[tuple[int], np.dtype[np.bool_]]


@dataclass(frozen=True, eq=False)
class Modes:
    """The modes of a machine: each begins at its start (us) and lasts until the next.

    Before the first, and where none was ever told, a machine runs.

    >>> modes = Modes.of([(1_000_000_000, "maintenance"), (5_000_000_000, "running")])
    >>> modes.at(np.array([0, 1_000_000_000, 6_000_000_000])).tolist()
    ['running', 'maintenance', 'running']
    >>> modes.is_quiet(np.array([900_000_000]), 200_000_000).tolist()
    [True]
    >>> modes.judged_as(np.array([0, 5_100_000_000, 6_000_000_000])).tolist()
    ['running', '', 'running']
    """

    starts: "np.ndarray"
    names: Names

    @classmethod
    def of(cls, rows: Iterable[tuple[int, str]] = ()) -> Self:
        """Return the modes of (start in us, mode), oldest first."""
        told = list(rows)
        starts = np.array([start for start, _ in told], dtype=np.int64)
        return cls(starts, np.array([RUNNING, *(name for _, name in told)]))

    def at(self, times_us: "np.ndarray") -> Names:
        """Return the mode at each time."""
        return np.asarray(self.names[self._index(times_us)])

    def is_quiet(self, times_us: "np.ndarray", span_us: int = 0) -> Flags:
        """Return whether a mode in which nothing is judged reaches into [time, time + span]."""
        first, last = self._index(times_us), self._index(times_us + span_us)
        return np.asarray(self._quiet_before[last + 1] > self._quiet_before[first])

    def judged_as(self, times_us: "np.ndarray", span_us: int = 0) -> Names:
        """Return as what readings over [time, time + span] are judged: running, idle, or empty.

        Nothing is judged in a quiet mode, across a change, or shortly after one.
        """
        names = self.at(times_us)
        last = np.searchsorted(self._changes, times_us + span_us, side="right")
        changed = np.append(np.int64(-(2**62)), self._changes)[last]
        unsettled = changed > times_us - SETTLE_US
        return np.where(unsettled | np.isin(names, list(QUIET)), "", names)

    def _index(self, times_us: "np.ndarray") -> "np.ndarray":
        return np.asarray(np.searchsorted(self.starts, times_us, side="right"))

    @cached_property
    def _changes(self) -> "np.ndarray":
        """When the mode became another one."""
        return np.asarray(self.starts[self.names[1:] != self.names[:-1]])

    @cached_property
    def _quiet_before(self) -> "np.ndarray":
        return np.append(0, np.cumsum(np.isin(self.names, list(QUIET))))
