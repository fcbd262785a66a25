"""What detection found, kept and told once: live by the engine, or over a past span."""

import pandas as pd

from enms_core import causes
from enms_core.contributors import Contributor, ranked
from enms_core.detection.consequence import SEVERITIES, severe_from, severity
from enms_core.detection.episode import Closed, Episode, Opened, Step
from enms_core.detection.monitor import Monitor
from enms_core.detection.reason import describe
from enms_core.detection.verdict import episode_confidence
from enms_core.events import AnomalyUpdated, Event
from enms_core.plant import ENERGY_METRICS, Machine
from enms_core.store import Connection, Store, anomalies, events, machines, models, scores
from enms_core.store import modes as stored_modes
from enms_core.store import readings as stored
from enms_core.store.anomalies import SETTLING, Anomaly
from enms_core.store.times import iso, to_us
from enms_core.telling import detected, resolved
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
        anomaly = tell(connection, watch, step)
        if anomaly and (isinstance(step, Opened) or anomaly.id in found):
            found[anomaly.id] = anomaly
    return list(found.values())


def as_anomaly(watch: Watch, episode: Episode) -> Anomaly:
    """Return the anomaly that an episode of a machine is, in money and words."""
    machine, contributors = watch.machine, watch.contributors or ()
    price = machine.factory.price_per_kwh
    return Anomaly(
        machine_id=machine.id,
        metric=watch.monitor.metric,
        state="open",
        severity=severity(episode.lasting_kw, severe_from(machine)),
        score=round(episode.score, 2),
        value=episode.value,
        expected=episode.expected,
        lower=episode.lower,
        upper=episode.upper,
        delta_kwh=episode.delta_kwh,
        delta_cost=episode.delta_kwh * price,
        started_at=to_us(episode.started_at),
        reason=describe(
            episode.value,
            episode.expected,
            episode.started_at.astimezone(machine.zone),
            metric=watch.monitor.metric,
            contributors=contributors,
        ),
        model_version=watch.model.version if watch.model else None,
        cost_per_hour=episode.delta_kw * price,
        confidence=round(episode_confidence(episode.score, episode.interval_s), 4),
        contributors=contributors,
    )


def anomaly_id(watch: Watch, episode: Episode) -> str:
    """Return the id of the anomaly that an episode of a machine is."""
    return anomalies.id_of(watch.machine.id, watch.monitor.metric, to_us(episode.started_at))


def tell(connection: Connection, watch: Watch, step: Step) -> Anomaly | None:
    """Keep a step of an episode; return the anomaly if there is something new to tell of it."""
    watch.contributors = _contributors(connection, watch, step)
    anomaly = as_anomaly(watch, step.episode)
    event: Event | None = None
    if isinstance(step, Opened):
        if anomalies.add(connection, anomaly):
            event = detected(anomaly, watch.machine)
    elif isinstance(step, Closed):
        watch.contributors = None
        end = to_us(step.episode.ended_at)
        anomaly = anomaly.ended(end)
        if anomalies.update(connection, anomaly):
            event = resolved(anomaly, end, step.because)
    else:
        event = _risen(connection, watch.machine, anomaly, step.episode)
        anomalies.update(connection, anomaly)
    return anomaly if event and events.record(connection, event) else None


def refresh(connection: Connection, watch: Watch) -> bool:
    """Bring the open anomaly of a machine, if there is one, to its newest size.

    Return whether it is more severe than was told: after a restart, or by what it weighs now.
    """
    episode = watch.monitor.episode
    if episode is None:
        return False
    if watch.contributors is None:  # the engine was started anew
        watch.contributors = _kept(connection, watch, episode)
    anomaly = as_anomaly(watch, episode)
    risen = _risen(connection, watch.machine, anomaly, episode)
    anomalies.update(connection, anomaly)
    return risen is not None and events.record(connection, risen) is not None


def _contributors(connection: Connection, watch: Watch, step: Step) -> tuple[Contributor, ...]:
    """Return the drivers as they were when it began, and what is unusual now."""
    episode = step.episode
    if isinstance(step, Opened):
        known = causes.drivers(connection, watch, episode)
    else:
        known = [one for one in _kept(connection, watch, episode) if one.is_driver]
    return ranked([*known, *causes.others(connection, watch, episode)])


def _kept(connection: Connection, watch: Watch, episode: Episode) -> tuple[Contributor, ...]:
    return anomalies.contributors(connection, anomaly_id(watch, episode))


def _risen(
    connection: Connection, machine: Machine, anomaly: Anomaly, episode: Episode
) -> AnomalyUpdated | None:
    """Return the event that an anomaly is more severe than it was; None if it is not."""
    known = anomalies.standing(connection, anomaly.id)
    if known is None:
        return None
    state, before, label = known
    if state == "resolved" or label in SETTLING:
        return None
    if SEVERITIES.index(anomaly.severity) <= SEVERITIES.index(before):
        return None
    return AnomalyUpdated(
        anomaly_id=anomaly.id,
        machine_id=anomaly.machine_id,
        state=state,
        by="engine",
        at=iso(to_us(episode.ended_at)),
        note=_risen_note(machine, anomaly, episode),
        severity=anomaly.severity,
    )


def _risen_note(machine: Machine, anomaly: Anomaly, episode: Episode) -> str:
    minutes = (episode.ended_at - episode.started_at).total_seconds() / 60.0
    cost = abs(anomaly.cost_per_hour or 0.0)
    money = f", {cost:.2f} {machine.factory.currency} an hour" if cost else ""
    side = "more" if episode.sign > 0 else "less"
    return (
        f"{machine.name} is {anomaly.severity} now: {abs(episode.delta_kw):.1f} kW {side} than "
        f"expected{money}, for {minutes:.0f} min."
    )
