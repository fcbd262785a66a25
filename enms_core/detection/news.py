"""What is new: values outside the range of all before, and alarms that were not told yet."""

import math
import sys
from dataclasses import dataclass

NOVEL = 1 / 64  # of the range: by so much an ordinary record exceeds the one before it
OPEN = 3.5  # from this surprise on a reading opens an episode; those that follow say just this much
REARM = 36  # after so many readings without one, the next opens an episode again ...
HIGHER = 2.0  # ... and at once one that is more surprising by so many decades


@dataclass
class Range:
    """The lowest and the highest value so far.

    Whatever their distribution, the next of n values exceeds all before with a probability of
    2 / (n + 1), and few tails are so heavy that it exceeds them by x times an ordinary excess more
    often than in 1 / x of these cases.

    >>> known = Range(0.0, 10.0)
    >>> known.surprise(9.0, 1000), round(known.surprise(11.0, 1000), 2), known.high
    (0.0, 3.81, 11.0)
    """

    low: float = sys.float_info.max
    high: float = -sys.float_info.max

    def widen(self, low: float, high: float) -> None:
        """Hold these, too."""
        self.low, self.high = min(self.low, low), max(self.high, high)

    def surprise(self, value: float, seen: int, least: float = 0.0) -> float:
        """Return how surprising a value is after `seen` others, and widen the range to hold it.

        `least` is the range to assume where that of the others is less. An absurd value widens the
        range by no more than itself, so that it does not hide all that follow.
        """
        excess = max(value - self.high, self.low - value)
        if excess <= 0.0:
            return 0.0
        span = max(self.high - self.low, least)
        self.low = max(min(self.low, value), self.low - span)
        self.high = min(max(self.high, value), self.high + span)
        return max(0.0, math.log10(seen + 1) + math.log10(excess / span / NOVEL))


@dataclass
class Episodes:
    """Tells an episode once: what goes on is no news.

    >>> episodes = Episodes()
    >>> [episodes.tell(n, 5.0) for n in (100, 101, 130, 200)]
    [5.0, 3.5, 3.5, 5.0]
    >>> episodes.tell(201, 8.0)
    8.0
    """

    last: int = -REARM - 1  # the number of the last surprising reading
    height: float = 0.0

    def tell(self, number: int, surprise: float) -> float:
        """Return the surprise of a reading of OPEN or more: all of it if it is news, else OPEN."""
        recovered = number - self.last > REARM
        self.last = number
        if recovered or surprise > self.height + HIGHER:
            self.height = surprise
            return surprise
        return OPEN
