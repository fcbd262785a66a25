"""What is looked at in a series of standardised residuals, on several time scales at once.

A single reading, the jump from the mean of the six before, the means of the last 6, 24 and 72, the
variance of 72, how long a value stands still and how long the machine stays on or off. Sums are
differences of one running sum (as Page's cumulative sums, Biometrika 41, 1954, but of a fixed
length, so that they recover): a whole block at once and one reading after another add in the same
order, and give the same numbers.

A longer window tells of a fault only while the last six readings are still as far out as it is;
what has recovered is no news.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from enms_core.detection.profile import Block, Floats

WINDOWS = (6, 24, 72)
LONGEST = WINDOWS[-1]
UNITS = tuple(2.0 / window for window in WINDOWS)  # doubled, means fit the cells of the histogram
CLIP = 3.0  # one reading adds no more than so many scales to a sum: that is the single one's task
STEADY = 0.02  # variance below which a series is as steady as can be
STATE_UNIT = 8.0  # readings; only so that a state's length fits the cells of the histogram

SINGLE, JUMP, SHORT, MIDDLE, LONG, VARIANCE, STILL, STATE = range(8)
SIGNALS = 8


@dataclass
class Trail:
    """What the signals need of the readings before a block."""

    clipped: list[float]  # the last 72 standardised residuals
    value: float  # the last one
    still: int  # for how many readings it has been the same
    on: bool  # whether the machine is above its level
    state: int  # for how many readings it has been so

    @classmethod
    def new(cls) -> "Trail":
        return cls([0.0] * LONGEST, 0.0, 0, False, 0)


def signals(block: Block, z: Floats, level: float, trail: Trail) -> tuple[Floats, Trail]:
    """Return every signal for every reading (signals, readings), and the trail they leave."""
    clipped = np.minimum(np.maximum(z, -CLIP), CLIP)
    both = np.concatenate([trail.clipped, clipped])
    sums, squares = _running(both), _running(both * both)
    out = np.empty((SIGNALS, len(z)))
    out[SINGLE] = z
    out[JUMP] = z - _last(sums[:-1], WINDOWS[0], len(z)) / WINDOWS[0]
    for row, window, unit in zip((SHORT, MIDDLE, LONG), WINDOWS, UNITS, strict=True):
        out[row] = unit * _last(sums, window, len(z))
    longer = out[MIDDLE : LONG + 1]
    longer *= (out[SHORT] - longer) * longer >= 0.0  # as `supported` says
    mean = _last(sums, LONGEST, len(z)) / LONGEST
    variance = _last(squares, LONGEST, len(z)) / LONGEST - mean * mean
    high = variance > 1.0
    excess = np.where(
        _last(squares, WINDOWS[0], len(z)) / WINDOWS[0] < variance, 0.0, variance - 1.0
    )
    out[VARIANCE] = np.where(high, excess, 1.0 - 1.0 / (np.maximum(variance, 0.0) + STEADY))
    still = _run(np.concatenate([[trail.value], block.value]), trail.still)
    on = block.y > level
    state = _run(np.concatenate([[trail.on], on]), trail.state)
    out[STILL] = still
    out[STATE] = np.where(on, state, -state) / STATE_UNIT
    kept = both[-LONGEST:].tolist()
    return out, Trail(kept, float(block.value[-1]), int(still[-1]), bool(on[-1]), int(state[-1]))


def _running(values: Floats) -> Floats:
    """Return the running sum, a zero before it."""
    out = np.zeros(len(values) + 1)
    np.cumsum(values, out=out[1:])
    return out


def _last(sums: Floats, window: int, count: int) -> Floats:
    """Return the sums of the last `window` values at each of the last `count`."""
    end = len(sums)
    return sums[end - count :] - sums[end - count - window : end - window]


def supported(short: float, mean: float) -> bool:
    """Tell whether the last six readings are still as far out as a longer mean."""
    return short <= mean if mean < 0.0 else short >= mean


def variance_signal(variance: float) -> float:
    """Return how far variance is above one, or below: then the steadiness, negative."""
    if variance > 1.0:
        return variance - 1.0
    return 1.0 - 1.0 / (max(variance, 0.0) + STEADY)


def variance_at(signal: float) -> float:
    """Return the variance that makes such a signal.

    >>> variance_at(2.0), variance_at(-9.0)
    (3.0, 0.08)
    """
    return 1.0 + signal if signal >= 0.0 else 1.0 / (1.0 - signal) - STEADY


def _run(states: npt.NDArray[Any], before: int) -> npt.NDArray[np.int64]:
    """Return for how many readings a state has not changed, the first of `states` being before."""
    place = np.arange(len(states) - 1)
    changes = np.where(states[1:] != states[:-1], place, -1 - before)
    run: npt.NDArray[np.int64] = place - np.maximum.accumulate(changes)
    return run
