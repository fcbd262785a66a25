"""How fast the stream detector is, beside river's GaussianScorer in the same run, on one thread.

    python -m tests.benchmarks.detectors

Both see the same months of minutes with a daily wave, in turns, so that whatever else the machine
does slows both. Printed are medians over the turns, the first month not among them.
"""

import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import pandas as pd

from enms_core.detection import StreamDetector

MINUTES = 200_000
WARM = 40_000
TURN = 4_800


def series() -> pd.Series:
    times = pd.date_range("2026-01-01", periods=MINUTES, freq="1min", tz="UTC")
    wave = 5.0 * np.sin(2 * np.pi * np.arange(MINUTES) / 1440)
    return pd.Series(20.0 + wave + np.random.default_rng(0).normal(size=MINUTES), times)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def streamed(detector: StreamDetector, times: list[float], values: list[float]) -> None:
    update = detector.update
    for at, value in zip(times, values, strict=True):
        update(at, value)


def scored(river, values: list[float]) -> None:
    score, learn = river.score_one, river.learn_one
    for value in values:
        score(None, value)
        learn(None, value)


def main() -> None:
    try:
        from river.anomaly import GaussianScorer
    except ModuleNotFoundError:
        sys.exit("river is missing; install it with: pip install 'river>=0.26'")
    load = series()
    times = (load.index.as_unit("us").asi8 / 1e6).tolist()
    values = load.tolist()
    one, all_at_once, river = StreamDetector(), StreamDetector(), GaussianScorer()
    one.score(load.iloc[:WARM])
    all_at_once.score(load.iloc[:WARM])
    scored(river, values[:WARM])
    streaming, batch, peer = [], [], []
    for start in range(WARM, MINUTES, TURN):
        turn = slice(start, start + TURN)
        now, seen = times[turn], values[turn]
        streaming.append(seconds(lambda now=now, seen=seen: streamed(one, now, seen)))
        peer.append(seconds(lambda seen=seen: scored(river, seen)))
        batch.append(seconds(lambda part=load.iloc[turn]: all_at_once.score(part)))
    mine, other = median(streaming) / TURN, median(peer) / TURN
    ratio = median(a / b for a, b in zip(streaming, peer, strict=True))
    print(f"StreamDetector.update        {mine * 1e9:8.0f} ns a reading")
    print(f"river GaussianScorer         {other * 1e9:8.0f} ns a reading")
    print(f"times river                  {ratio:8.1f}")
    print(f"StreamDetector.score         {TURN / median(batch):8.0f} readings a second")


if __name__ == "__main__":
    main()
