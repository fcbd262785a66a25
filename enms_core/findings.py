"""What detection found, kept and told once: live by the engine, or over a past span."""

import pandas as pd

from enms_core.detection.episode import Closed, Episode, Opened, Step
from enms_core.detection.monitor import Monitor
from enms_core.detection.reason import describe, severity
from enms_core.events import AnomalyDetected, AnomalyUpdated
from enms_core.plant import ENERGY_METRICS, Machine
from enms_core.store import Connection, Store, anomalies, events, machines, models, scores
from enms_core.store import modes as stored_modes
from enms_core.store import readings as stored
from enms_core.store.anomalies import Anomaly
from enms_core.store.times import iso, to_us
from enms_core.training import energy_metric
from enms_core.watch import Watch, predict

LEARN_US = 60 * 86_400_000_000  # a detection over the past learns from so long before it


def detect(store: Store, machine_id: str, start_us: int, end_us: int) -> list[Anomaly]:
    """Judge the readings in [start, end) by what was known before each; return new anomalies.

    An interval that overlaps a known anomaly of the machine is that anomaly, and not told again.
    One that still lasts at the end of the span ends there: nobody follows it any further.
    """
    return judge_again(store, machine_id, start_us, end_us)[0]


def judge_again(
    store: Store, machine_id: str, start_us: int, end_us: int
) -> tuple[list[Anomaly], Monitor | None]:
    """Do as `detect`; return the monitor, too, that knows what came before `end_us`."""
    with store.read() as connection:
        machine = machines.find(connection, machine_id)
        version = models.active(connection).get(machine.id)
        wide = stored.frame(connection, machine.id, start_us - LEARN_US, end_us)
        modes = stored_modes.over(connection, machine.id, start_us - LEARN_US, end_us)
    if not any(metric in wide for metric in ENERGY_METRICS):
        return [], None
    watch = Watch(machine, Monitor(energy_metric(wide.columns), machine.factory.timezone))
    if version:
        watch.follow(version)
        watch.monitor.model_id = version.id
    values = wide[watch.monitor.metric].dropna()
    times = pd.DatetimeIndex(values.index).as_unit("us").asi8
    expected = predict(watch, wide).reindex(values.index).to_numpy(float)
    judged = watch.monitor.take(times, values.to_numpy(float), expected, modes)
    steps = judged.steps + [Closed(last) for last in [watch.monitor.episode] if last]
    band = judged.band[judged.band["time"] >= start_us]
    unjudged = times[(times >= start_us) & (watch.monitor.judged_as(times, modes) == "")]
    with store.write() as connection:
        scores.put(connection, machine.id, watch.monitor.metric, band)
        scores.forget(connection, machine.id, watch.monitor.metric, unjudged.tolist())
        return _keep(connection, watch, steps, start_us), watch.monitor


def _keep(connection: Connection, watch: Watch, steps: list[Step], start_us: int) -> list[Anomaly]:
    mine = watch.machine.id, watch.monitor.metric
    known = anomalies.spans(connection, *mine)
    lasted = {step.episode.started_at: step.episode.ended_at for step in steps}  # the last wins
    found: dict[str, Anomaly] = {}
    for step in steps:
        episode = step.episode
        span = to_us(episode.started_at), to_us(lasted[episode.started_at])
        if span[0] < start_us or any(a <= span[1] and span[0] <= b for a, b in known):
            continue
        anomaly = as_anomaly(connection, watch, episode)
        if tell(connection, watch, step) and isinstance(step, Opened):
            found[anomaly.id] = anomaly
        elif isinstance(step, Closed) and anomaly.id in found:
            found[anomaly.id] = anomaly.ended(span[1])
    return list(found.values())


def as_anomaly(connection: Connection, watch: Watch, episode: Episode) -> Anomaly:
    """Return the anomaly that an episode of a machine is, in money and words."""
    machine, metric = watch.machine, watch.monitor.metric
    hours = watch.monitor.tracker.interval_s / 3600.0
    per_hour = 1.0 / hours if metric == "energy_kwh" and hours else 1.0
    local = episode.started_at.astimezone(machine.zone)
    at = to_us(episode.started_at)
    return Anomaly(
        machine_id=machine.id,
        metric=metric,
        state="open",
        severity=severity(episode.peak * per_hour, machine.rated_kw, episode.expected * per_hour),
        score=round(episode.score, 2),
        value=episode.value,
        expected=episode.expected,
        lower=episode.lower,
        upper=episode.upper,
        delta_kwh=episode.delta_kwh,
        delta_cost=episode.delta_kwh * machine.factory.price_per_kwh,
        started_at=at,
        reason=describe(
            episode.value,
            episode.expected,
            local,
            metric=metric,
            temperature_c=stored.value_at(connection, machine.id, "temperature_c", at),
        ),
        model_version=watch.model.version if watch.model else None,
    )


def tell(connection: Connection, watch: Watch, step: Step) -> bool:
    """Keep a step of an episode; return whether there is something new to tell."""
    anomaly = as_anomaly(connection, watch, step.episode)
    if isinstance(step, Opened):
        if not anomalies.add(connection, anomaly):
            return False
        return events.record(connection, detected(anomaly, watch.machine)) is not None
    if isinstance(step, Closed):
        end = to_us(step.episode.ended_at)
        if not anomalies.update(connection, anomaly.ended(end)):
            return False
        return events.record(connection, resolved(anomaly, end, step.because)) is not None
    anomalies.update(connection, anomaly)
    return False


def resolved(anomaly: Anomaly, at: int, note: str) -> AnomalyUpdated:
    """Return the event that tells the end of an anomaly."""
    return AnomalyUpdated(
        anomaly_id=anomaly.id,
        machine_id=anomaly.machine_id,
        state="resolved",
        by="engine",
        at=iso(at),
        note=note,
    )


def detected(anomaly: Anomaly, machine: Machine) -> AnomalyDetected:
    """Return the event that tells a new anomaly."""
    return AnomalyDetected(
        anomaly_id=anomaly.id,
        machine_id=machine.id,
        machine=machine.name,
        metric=anomaly.metric,
        severity=anomaly.severity,
        score=anomaly.score,
        value=anomaly.value,
        expected=anomaly.expected,
        lower=anomaly.lower,
        upper=anomaly.upper,
        delta_kwh=anomaly.delta_kwh,
        delta_cost=anomaly.delta_cost,
        started_at=iso(anomaly.started_at),
        reason=anomaly.reason,
        model_version=anomaly.model_version,
    )
