"""What a detector would have told of a past that people have labelled."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from enms_core.baseline import EnergyBaseline
from enms_core.detection import DETECTORS
from enms_core.detection.episode import Closed, Episode, EpisodeTracker, Opened
from enms_core.detection.monitor import Monitor
from enms_core.modes import Modes
from enms_core.plant import Machine
from enms_core.training import energy_metric
from enms_core.watch import Watch, predict

MONTH_S = 30 * 86_400.0
EPISODES = ["started_at", "ended_at", "score", "delta_kwh", "label"]


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """How told episodes compare with labels; None where there is nothing to compare.

    - `recall`: share of the anomalies labelled true that an episode overlaps.
    - `precision`: share of the labelled episodes that overlap one labelled true. An episode that
      nobody labelled counts in neither.
    - `false_alarms_per_month`: episodes that overlap none labelled true, in 30 days. Those that
      nobody has labelled count as false: what is labelled must be complete for it to mean much.
    - `delay_s`: the median time from the start of one labelled true to its first episode.
    - `kwh_found`: the energy of the anomalies labelled true that were found.
    """

    episodes: pd.DataFrame  # a row each: started_at, ended_at, score, delta_kwh, label
    precision: float | None
    recall: float | None
    false_alarms_per_month: float
    delay_s: float | None
    kwh_found: float


def compare(episodes: pd.DataFrame, labelled: pd.DataFrame, seconds: float) -> Backtest:
    """Compare episodes with labelled anomalies over a span of so many seconds.

    Both have started_at, ended_at (times; NaT for one that lasts) and delta_kwh, the second label,
    too.

    >>> at = pd.Timestamp("2026-10-05T10:00Z")
    >>> told = pd.DataFrame({"started_at": [at, at + pd.Timedelta("3D")],
    ...     "ended_at": [at + pd.Timedelta("2h"), at + pd.Timedelta("73h")],
    ...     "score": 5.0, "delta_kwh": [8.0, 1.0]})
    >>> known = pd.DataFrame({"started_at": [at - pd.Timedelta("30min")],
    ...     "ended_at": [at + pd.Timedelta("1h")], "delta_kwh": [9.0], "label": ["true"]})
    >>> found = compare(told, known, 15 * 86_400.0)
    >>> found.recall, found.precision, found.false_alarms_per_month, found.delay_s, found.kwh_found
    (1.0, 1.0, 2.0, 1800.0, 9.0)
    """
    hits = _overlaps(episodes, labelled)
    is_true = (labelled["label"] == "true").to_numpy()
    known = labelled[is_true]
    met, is_labelled = np.any(hits & is_true, axis=1), np.any(hits, axis=1)
    found = np.any(hits[:, is_true], axis=0)
    told = episodes.assign(
        label=np.where(met, "true", np.where(is_labelled, _first(hits, labelled), ""))
    )
    return Backtest(
        episodes=told[EPISODES],
        precision=float(met.sum() / is_labelled.sum()) if is_labelled.any() else None,
        recall=float(found.mean()) if len(found) else None,
        false_alarms_per_month=float((~met).sum() * MONTH_S / seconds),
        delay_s=_delay(episodes, known, hits[:, is_true]),
        kwh_found=float(known["delta_kwh"].to_numpy()[found].sum()),
    )


def _overlaps(episodes: pd.DataFrame, labelled: pd.DataFrame) -> "np.ndarray":
    """Return (episodes, labelled): whether they have a time in common."""
    a, b = (f["started_at"].to_numpy("datetime64[us]") for f in (episodes, labelled))
    last = np.datetime64("9999-12-31", "us")
    ends = [f["ended_at"].to_numpy("datetime64[us]") for f in (episodes, labelled)]
    c, d = (np.where(np.isnat(end), last, end) for end in ends)
    return np.asarray((a[:, None] <= d[None, :]) & (b[None, :] <= c[:, None]))


def _first(hits: "np.ndarray", labelled: pd.DataFrame) -> "np.ndarray":
    """Return the label of the first overlap of every episode; of no meaning where there is none."""
    if not len(labelled):
        return np.full(len(hits), "", dtype=object)
    return np.asarray(labelled["label"].to_numpy(object)[hits.argmax(axis=1)])


def _delay(episodes: pd.DataFrame, known: pd.DataFrame, hits: "np.ndarray") -> float | None:
    delays = [
        max(0.0, (episodes["started_at"][hits[:, i]].min() - start).total_seconds())
        for i, start in enumerate(known["started_at"])
        if hits[:, i].any()
    ]
    return float(np.median(delays)) if delays else None


def backtest(
    machine: Machine,
    wide: pd.DataFrame,
    baseline: EnergyBaseline | None,
    labelled: pd.DataFrame,
    start: datetime,
    *,
    modes: Modes | None = None,
    detector: str = "stream",
    false_alarms_per_month: float | None = None,
) -> Backtest:
    """Judge the readings (index time, a column per metric) from `start` on again; nothing is kept.

    What lies before `start` teaches. `false_alarms_per_month` is how many are put up with, by
    default as many as live. `labelled` is as in `compare`; what began before `start` does
    not count. `modes` says what is not judged. ValueError without readings of energy in the span.
    """
    if detector not in DETECTORS:
        known = ", ".join(DETECTORS)
        raise ValueError(f"detector {detector!r} is unknown; it must be one of {known}")
    metric = energy_metric(wide.columns)
    span = wide.index[wide[metric].notna() & (wide.index >= pd.Timestamp(start))]
    if not len(span):
        raise ValueError(f"no readings of {metric} from {start} on")
    episodes = _episodes(machine, wide, baseline, span[0], modes, detector, false_alarms_per_month)
    seconds = (span[-1] - span[0]).total_seconds()
    return compare(episodes, labelled[labelled["started_at"] >= start], max(seconds, 1.0))


def _episodes(
    machine: Machine,
    wide: pd.DataFrame,
    baseline: EnergyBaseline | None,
    start: pd.Timestamp,
    modes: Modes | None,
    detector: str,
    false_alarms_per_month: float | None,
) -> pd.DataFrame:
    metric = energy_metric(wide.columns)
    monitor = Monitor(metric, machine.factory.timezone)
    monitor.detector = DETECTORS[detector](machine.factory.timezone)
    if false_alarms_per_month is not None:
        monitor.tracker = EpisodeTracker(
            metric=metric, false_alarms_per_month=false_alarms_per_month
        )
    watch = Watch(machine, monitor, baseline=baseline)
    values = wide[metric].dropna()
    times = pd.DatetimeIndex(values.index).as_unit("us").asi8
    expected = predict(watch, wide).reindex(values.index).to_numpy(float)
    steps = monitor.take(times, values.to_numpy(float), expected, modes).steps
    found: dict[object, Episode] = {}
    for step in [*steps, *(Closed(last) for last in [monitor.episode] if last)]:
        if isinstance(step, Opened | Closed):
            found[step.episode.started_at] = step.episode
    rows = [
        (e.started_at, e.ended_at, e.score, e.delta_kwh)
        for e in found.values()
        if e.started_at >= start
    ]
    frame = pd.DataFrame(rows, columns=EPISODES[:-1])
    for name in ("started_at", "ended_at"):
        frame[name] = pd.to_datetime(frame[name], utc=True).dt.as_unit("us")
    return frame
