"""How fast the stream detector is, beside river's GaussianScorer in the same run, on one thread.

    python -m tests.benchmarks.detectors

Both see the same years of a daily wave, by minutes and by hours, in turns, so that whatever else
the machine does slows both. Printed are medians of processor time over the turns, the first of it
not among them. Ends with 1 where a limit was not kept.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import pandas as pd

from enms_core.detection import StreamDetector

TIMES_RIVER, BATCH = 4.0, 1e6  # limits: of an update; readings a second


@dataclass(frozen=True)
class Data:
    """So many readings, of which the first only warm up; judged in turns."""

    name: str
    seconds: int
    count: int
    warm: int
    turn: int


SETS = (
    Data("minutes", 60, count=200_000, warm=40_000, turn=4_800),
    Data("hours", 3600, count=40_000, warm=4_000, turn=1_680),
)


def series(data: Data) -> pd.Series:
    times = pd.date_range("2026-01-01", periods=data.count, freq=f"{data.seconds}s", tz="UTC")
    wave = 5.0 * np.sin(2 * np.pi * np.arange(data.count) * data.seconds / 86400)
    return pd.Series(20.0 + wave + np.random.default_rng(0).normal(size=data.count), times)


def seconds(work: Callable[[], object]) -> float:
    started = time.thread_time()
    work()
    return time.thread_time() - started


def streamed(detector: StreamDetector, times: list[float], values: list[float]) -> None:
    update = detector.update
    for at, value in zip(times, values, strict=True):
        update(at, value)


def scored(river, values: list[float]) -> None:
    score, learn = river.score_one, river.learn_one
    for value in values:
        score(None, value)
        learn(None, value)


def measured(data: Data, river) -> tuple[float, float, float, float]:
    """Return seconds a reading: an update, river's, the ratio of both, and in a whole series."""
    load = series(data)
    times = (load.index.as_unit("us").asi8 / 1e6).tolist()
    values = load.tolist()
    one, all_at_once = StreamDetector(), StreamDetector()
    one.score(load.iloc[: data.warm])
    all_at_once.score(load.iloc[: data.warm])
    scored(river, values[: data.warm])
    streaming, batch, peer = [], [], []
    for start in range(data.warm, data.count - data.turn + 1, data.turn):
        turn = slice(start, start + data.turn)
        now, seen = times[turn], values[turn]
        streaming.append(seconds(lambda now=now, seen=seen: streamed(one, now, seen)))
        peer.append(seconds(lambda seen=seen: scored(river, seen)))
        batch.append(seconds(lambda part=load.iloc[turn]: all_at_once.score(part)))
    ratio = median(a / b for a, b in zip(streaming, peer, strict=True))
    mine, other, whole = (median(taken) / data.turn for taken in (streaming, peer, batch))
    return mine, other, ratio, whole


def main() -> None:
    try:
        from river.anomaly import GaussianScorer
    except ModuleNotFoundError:
        sys.exit("river is missing; install it with: pip install 'river>=0.26'")
    failed = []
    for data in SETS:
        mine, other, ratio, whole = measured(data, GaussianScorer())
        print(f"{data.name}")
        print(f"  StreamDetector.update   {mine * 1e9:8.0f} ns a reading")
        print(f"  river GaussianScorer    {other * 1e9:8.0f} ns a reading")
        print(f"  times river             {ratio:8.1f}  limit {TIMES_RIVER:.0f}")
        print(f"  StreamDetector.score    {1 / whole:8.0f} readings a second", end="")
        print(f"  limit {BATCH:.0f}" if data is SETS[0] else "")
        failed += [f"{data.name}: {ratio:.1f} times river"] * (ratio > TIMES_RIVER)
        failed += [f"{data.name}: batch"] * (data is SETS[0] and 1 / whole < BATCH)
    if failed:
        sys.exit(f"not kept: {', '.join(failed)}")


if __name__ == "__main__":
    main()
