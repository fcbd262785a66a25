"""Every kind of event: one schema for producer, wire, log and view.

A kind is a frozen dataclass that registers itself under its channel. `Envelope` carries it: on the
channel, in the stream, over the WebSocket and in `plant.events()` alike.
"""

import hashlib
import json
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatch
from typing import Annotated, Any, ClassVar, Self

import msgspec

LONGEST_ID = 500  # characters; a longer one would not fit into an index
LONGEST_NOTE = 2_000  # characters of what a person says
# ISO 8601 with offset; checked where an event is read.
Time = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
        r"T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)(?![\s\S])"
    ),
]
KINDS: dict[str, type["Event"]] = {}  # channel -> kind, in the order of their definition


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened. Subclasses name their channel and the fields that make the fact."""

    channel: ClassVar[str]
    type: ClassVar[str]
    fact: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls, *, channel: str, fact: tuple[str, ...] = ()) -> None:
        super().__init_subclass__()
        cls.channel, cls.fact = channel, fact
        cls.type = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
        KINDS[channel] = cls

    @property
    def event_id(self) -> str:
        """The same for the same fact, however often it is found out."""
        text = ":".join([self.type, *(str(getattr(self, name)) for name in self.fact)])
        if len(text) <= LONGEST_ID:
            return text
        return f"{self.type}:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


@dataclass(frozen=True, kw_only=True)
class AnomalyDetected(Event, channel="anomaly.detected", fact=("anomaly_id",)):
    """A machine uses more or less than it should; values in the unit of the metric."""

    anomaly_id: str
    machine_id: str
    machine: str
    metric: str
    severity: str
    score: float
    value: float
    expected: float
    lower: float
    upper: float
    delta_kwh: float
    delta_cost: float
    started_at: Time
    reason: str
    model_version: int | None = None
    cost_per_hour: float | None = None
    confidence: float | None = None


@dataclass(frozen=True, kw_only=True)
class MetricUpdated(Event, channel="metric.updated", fact=("machine_id", "time")):
    """The newest values of a machine; never replayed, newest wins."""

    machine_id: str
    machine: str
    values: dict[str, float]
    time: Time


@dataclass(frozen=True, kw_only=True)
class TrainingStarted(Event, channel="training.started", fact=("job_id",)):
    """A worker took a training job."""

    job_id: str
    machine_id: str
    machine: str
    model_type: str
    requested_by: str


@dataclass(frozen=True, kw_only=True)
class TrainingProgress(
    Event, channel="training.progress", fact=("job_id", "progress_pct", "status")
):
    """A training job moved on: `status` names the step it is in."""

    job_id: str
    machine_id: str
    progress_pct: int
    status: str
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class TrainingCompleted(Event, channel="training.completed", fact=("job_id",)):
    """A training job ended; `status` is completed, failed, cancelled or interrupted."""

    job_id: str
    machine_id: str
    status: str
    model_version: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    error_message: str = ""


@dataclass(frozen=True, kw_only=True)
class SystemAlert(Event, channel="system.alert", fact=("alert_type", "fingerprint")):
    """Something about the system itself that a person should know.

    The same details are the same fact, in whatever order they are written.
    """

    alert_type: str
    severity: str
    message: str
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """The details in short."""
        text = json.dumps(self.details, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class AnomalyUpdated(Event, channel="anomaly.updated", fact=("anomaly_id", "state", "at")):
    """An anomaly changed its state, a person labelled it, or it became more severe.

    `state` is open, acknowledged or resolved; `label` (true, false or expected) and `severity`
    are None where they are not what changed.
    """

    anomaly_id: str
    machine_id: str
    state: str
    by: str
    at: Time
    note: str = ""
    label: str | None = None
    severity: str | None = None


@dataclass(frozen=True, kw_only=True)
class MachineAdded(Event, channel="machine.added", fact=("machine_id",)):
    """The plant has one more machine."""

    machine_id: str
    machine: str
    machine_type: str
    factory: str


@dataclass(frozen=True, kw_only=True)
class ModeChanged(Event, channel="mode.changed", fact=("machine_id", "start", "mode", "at")):
    """A machine is in another operating mode from `start` on, as somebody told it at `at`."""

    machine_id: str
    machine: str
    mode: str
    start: Time
    by: str
    at: Time
    note: str = ""


CHANNELS = tuple(KINDS)
LONGEST_PATTERN, MOST_PATTERNS = 40, 40


def chosen(patterns: Sequence[str], channels: Iterable[str] = CHANNELS) -> frozenset[str]:
    """Return the channels that patterns such as training.* mean; raise ValueError for none.

    A long or a much repeated pattern would keep the event loop busy for minutes.

    >>> sorted(chosen(["anomaly.*"]))
    ['anomaly.detected', 'anomaly.updated']
    """
    known = sorted(channels)
    small = len(patterns) <= MOST_PATTERNS and all(len(p) <= LONGEST_PATTERN for p in patterns)
    found = frozenset(c for c in known for p in patterns if small and fnmatch(c, p))
    if not found:
        raise ValueError(f"channels {str(patterns)[:60]} mean none of: {', '.join(known)}")
    return found


_BY_TYPE = {kind.type: kind for kind in KINDS.values()}


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """An event on its way: numbered, dated, and the same on every wire.

    >>> event = TrainingProgress(job_id="j1", machine_id="m1", progress_pct=60, status="fit")
    >>> sent = Envelope(event=event, seq=7, epoch="e", event_id=event.event_id,
    ...                 published_at="2026-11-22T13:00:00+00:00")
    >>> Envelope.from_json(sent.to_json()) == sent
    True
    """

    event: Event
    seq: int | None
    epoch: str
    event_id: str
    published_at: str

    @classmethod
    def now(cls, event: Event, *, seq: int | None, epoch: str) -> Self:
        """Wrap an event that happens now."""
        return cls(
            event=event, seq=seq, epoch=epoch, event_id=event.event_id, published_at=utc_now()
        )

    @property
    def channel(self) -> str:
        """The channel of the event."""
        return self.event.channel

    @property
    def type(self) -> str:
        """The type of the event."""
        return self.event.type

    def to_dict(self) -> dict[str, Any]:
        """Return the envelope as it stands on the wire."""
        return {
            "type": self.type,
            "channel": self.channel,
            "seq": self.seq,
            "epoch": self.epoch,
            "event_id": self.event_id,
            "published_at": self.published_at,
            "data": asdict(self.event),
        }

    def to_json(self) -> str:
        """Return strict JSON; raise ValueError for NaN or infinity.

        Half of a surrogate pair, which no other reader takes, becomes a question mark.
        """
        text = json.dumps(
            self.to_dict(), allow_nan=False, ensure_ascii=False, separators=(",", ":")
        )
        return text.encode("utf-8", "replace").decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read an envelope; raise ValueError saying what is wrong.

        Every field is checked against its type. Fields that this version does not know are passed
        over, so that an older reader survives a newer writer.
        """
        try:
            raw = _READ.decode(text.encode() if isinstance(text, str) else text)
            event = msgspec.convert(raw.data, _BY_TYPE[raw.type])
        except (KeyError, msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ValueError(f"not an event: {error!r} in {str(text[:200])!r}") from error
        return cls(
            event=event,
            seq=raw.seq,
            epoch=raw.epoch,
            event_id=raw.event_id,
            published_at=raw.published_at,
        )


class _Raw(msgspec.Struct):
    """An envelope as it stands on the wire, its data not looked at yet."""

    type: str
    seq: int | None
    epoch: str
    event_id: str
    published_at: Time
    data: dict[str, Any]


_READ = msgspec.json.Decoder(_Raw)


def age_s(published_at: str) -> float:
    """Return the seconds since an event was committed, on this computer's clock; never negative."""
    return max(0.0, time.time() - datetime.fromisoformat(published_at).timestamp())


def utc_now() -> str:
    """Return now as ISO 8601 with offset, to the microsecond."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
