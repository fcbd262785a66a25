"""What the lists of the wire are made of; the same declarations answer and document."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from app.api.declared import Listed, Name, Spanned, Time, one_of
from enms_core.events import CHANNELS, LONGEST_NOTE
from enms_core.forecasting.accuracy import HORIZONS
from enms_core.modes import MODES
from enms_core.plant import CRITICALITIES, MACHINE_TYPES
from enms_core.store.anomalies import LABELS, STATES
from enms_core.store.jobs import MODEL_TYPES
from enms_core.triage import ACTIONS

Id = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![\s\S])")]
MetricName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)+(?![\s\S])", max_length=100)]
Text = Annotated[str, Meta(pattern=r"^[^\x00]*$", max_length=LONGEST_NOTE)]
Number = Annotated[float, Meta(ge=-1e15, le=1e15)]
Severity = Literal["info", "warning", "critical"]
JobState = Literal["queued", "running", "completed", "failed", "cancelled", "interrupted"]
ModelType: Any = one_of(MODEL_TYPES)
State: Any = one_of(STATES)
Label: Any = one_of(LABELS)
MachineType: Any = one_of(MACHINE_TYPES)
Criticality: Any = one_of(CRITICALITIES)
Money = Annotated[float, Meta(gt=0, le=1e12)]
Channel: Any = one_of(CHANNELS)
Mode: Any = one_of(MODES)
Action: Any = one_of(ACTIONS)
Horizon: Any = one_of(HORIZONS)
Freq = Literal["1min", "5min", "15min", "30min", "1h", "1D"]
Bucket = Literal["15min", "1h", "1D", "1W", "1MS"]

# -- what a request may say ------------------------------------------------------------------------


class OfMachine(Listed, kw_only=True):
    """Machines."""

    machine: Annotated[str | None, Meta(description="Name or id.")] = None


class OfReadings(Spanned, kw_only=True):
    """Readings; with `freq` averaged (energy and counts: summed) in the site's zone."""

    metric: MetricName | None = None
    freq: Freq | None = None


class OfExpected(Spanned, kw_only=True):
    """Readings as they were judged; by default of the metric that carries the energy."""

    metric: MetricName | None = None


class OfAnomalies(Spanned, kw_only=True):
    """Anomalies; machine and time narrow where they began."""

    severity: Severity | None = None
    state: State | None = None


class OfEvents(Spanned, kw_only=True):
    """Events after the number `since`, of some channels or all."""

    since: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    channels: Annotated[
        str | None, Meta(description="Names or patterns, comma-separated: training.*")
    ] = None


class OfJobs(Spanned, kw_only=True):
    """Trainings, by when they were asked for."""

    state: JobState | None = None


class OfModels(Spanned, kw_only=True):
    """Model versions, by when they were made."""

    state: Literal["active", "retired"] | None = None


class OfAlerts(Listed, kw_only=True):
    """Alerts, by when they began."""

    start: Time | None = None
    end: Time | None = None
    state: Literal["open", "over"] | None = None


class OfKpis(Listed, kw_only=True):
    """KPIs of one machine or of all, for the span or for every bucket of it."""

    machine: Annotated[str | None, Meta(description="Name or id.")] = None
    start: Time
    end: Time | None = None
    freq: Bucket | None = None


class OfForecast(Listed, kw_only=True):
    """The load of one machine in the next hours."""

    machine: Annotated[str, Meta(description="Name or id.")]
    hours: Annotated[int, Meta(ge=1, le=168)] = 24


class OfForecastAccuracy(Listed, kw_only=True):
    """How good the forecasts of one machine were, by when they were issued."""

    machine: Annotated[str, Meta(description="Name or id.")]
    start: Time | None = None
    end: Time | None = None


class WithId(Struct, forbid_unknown_fields=True):
    """The id of what is meant."""

    id: Id


class OfModes(Spanned, kw_only=True):
    """Operating modes that reach into the span."""


class OfRepairs(Spanned, kw_only=True):
    """Repairs of registers, by their time."""


class WithAction(Struct, forbid_unknown_fields=True):
    """The id of an anomaly, and what is done to it."""

    id: Id
    action: Action


# -- what a request may bring ----------------------------------------------------------------------


class ReadingIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """A value of a metric, or the values of several metrics; time is ISO 8601 with offset.

    What is no valid reading (an unknown machine, a time without a zone, a value that is no number)
    is put into quarantine and answered with its reason.
    """

    machine: str
    time: str
    metric: str | None = None
    value: float | str | None = None
    values: dict[str, float | str | None] | None = None


class ReadingsIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """Readings by name."""

    rows: list[ReadingIn]


class OddReadingIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """A row with the keys of a reading, whatever it says of them."""

    machine: Any
    time: Any
    metric: Any = None
    value: Any = None
    values: Any = None


class OddReadingsIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """Such rows by name."""

    rows: list[OddReadingIn]


class MachineIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """A new machine, at a factory that is there, or at a new one.

    Of a new one, an anomaly that costs `warning_per_hour` is a warning; by default what 5 kW cost,
    and 20 kW for critical.
    """

    name: Name
    type: MachineType = "other"
    rated_kw: Annotated[float, Meta(gt=0, le=1e9)] | None = None
    factory: Name
    timezone: Annotated[str, Meta(description="IANA name such as Europe/Berlin.")] | None = None
    criticality: Criticality = "B"
    warning_per_hour: Money | None = None
    critical_per_hour: Money | None = None


class ModeIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """What a machine is doing from `at` (default: now) on, until it is told otherwise."""

    mode: Mode
    at: Time | None = None
    note: Text = ""


class Weighing(Struct, forbid_unknown_fields=True, kw_only=True):
    """How much a machine's anomalies weigh; the amounts are those of its whole factory."""

    criticality: Criticality | None = None
    warning_per_hour: Money | None = None
    critical_per_hour: Money | None = None


class AnomalyIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """An anomaly that somebody saw; what was measured and expected is looked up where it is not
    given."""

    machine: Name
    metric: MetricName = "power_kw"
    started_at: Time
    ended_at: Time | None = None
    severity: Severity = "warning"
    note: Annotated[str, Meta(pattern=r"^[^\x00]+$", min_length=1, max_length=LONGEST_NOTE)]
    value: Number | None = None
    expected: Number | None = None


class Labelling(Struct, forbid_unknown_fields=True, kw_only=True):
    """What an anomaly was; of an expected one the note says why."""

    label: Label
    note: Text = ""


class NoteIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """Why."""

    note: Text = ""


class TrainingIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """The machine and what it should learn."""

    machine: Name
    model: ModelType = "baseline"


class DetectionIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """A span to be judged again, by default the last day, of one machine or all."""

    machine: Name | None = None
    start: Time | None = None
    end: Time | None = None


class AlertIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """Something that people should know."""

    alert_type: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*(?![\s\S])", max_length=64)]
    severity: Severity = "warning"
    message: Annotated[str, Meta(pattern=r"^[^\x00]+$", min_length=1, max_length=500)]
    details: dict[str, str | float | bool | None] = {}


# -- what is answered ------------------------------------------------------------------------------


class MachineRow(Struct, kw_only=True):
    """A machine and its factory.

    An anomaly that costs `warning_per_hour` and lasts is a warning, of a machine of criticality A
    half as much, of C twice.
    """

    id: str
    name: str
    type: str
    rated_kw: float | None
    factory: str
    timezone: str
    currency: str
    price_per_kwh: float
    carbon_kg_per_kwh: float
    criticality: str
    warning_per_hour: float
    critical_per_hour: float


class ReadingRow(Struct, kw_only=True):
    """A value in the unit that the metric's name ends in."""

    machine: str
    metric: str
    time: str
    value: float


class ExpectedRow(Struct, kw_only=True):
    """A value and what was expected; null where it was not judged."""

    time: str
    value: float
    expected: float | None
    lower: float | None
    upper: float | None
    surprise: float | None


class ContributorRow(Struct, kw_only=True):
    """A driver of the machine when an anomaly began, or another metric that is not as usual.

    `deviations`: how many standard deviations of this hour of the week it is away from `usual`;
    `effect_kw`: by how much it moved what was expected. Null where that is not known.
    """

    name: str
    value: float
    unit: str
    usual: float | None
    deviations: float | None
    effect_kw: float | None


class AnomalyRow(Struct, kw_only=True):
    """An anomaly; values in the unit of the metric, contributors by their effect.

    `confidence`: the probability that a day of normal operation shows no such thing; null where a
    person reported it.
    """

    id: str
    machine_id: str
    machine: str
    metric: str
    state: str
    severity: str
    score: float
    value: float
    expected: float
    lower: float
    upper: float
    delta_kwh: float
    delta_cost: float
    started_at: str
    ended_at: str | None
    reason: str
    model_version: int | None
    cost_per_hour: float | None
    confidence: float | None
    contributors: list[ContributorRow]
    label: str | None
    label_note: str | None
    labelled_by: str | None


class EventRow(Struct, kw_only=True):
    """An envelope, as it stands on every wire."""

    type: str
    channel: Channel
    seq: int
    epoch: str
    event_id: str
    published_at: str
    data: dict[str, Any]


class JobRow(Struct, kw_only=True):
    """A training as it stands."""

    id: str
    machine_id: str
    machine: str
    model_type: str
    state: JobState
    requested_by: str
    progress_pct: int
    step: str
    message: str
    created_at: str
    started_at: str | None
    ended_at: str | None
    alive_at: str | None
    metrics: dict[str, float]
    error_message: str
    model_version: int | None


class ModelRow(Struct, kw_only=True):
    """A model version and how good it is on unseen data."""

    id: str
    machine_id: str
    machine: str
    model_type: str
    version: int
    state: str
    created_at: str
    activated_at: str | None
    job_id: str | None
    train_start: str
    train_end: str
    metrics: dict[str, float]


class Model(ModelRow, kw_only=True):
    """A model version with what it learned, as JSON."""

    model: str


class AlertRow(Struct, kw_only=True):
    """An alert; it lasts while `closed_at` is null."""

    id: str
    alert_type: str
    subject: str
    severity: str
    message: str
    details: dict[str, Any]
    opened_at: str
    closed_at: str | None


class KpiRow(Struct, kw_only=True):
    """Figures of a machine in [start, end); null where they cannot be known."""

    machine: str
    start: str
    end: str
    energy_kwh: float | None
    mean_kw: float | None
    peak_kw: float | None
    peak_at: str | None
    load_factor: float | None
    base_kw: float | None
    coverage: float
    cost: float | None
    currency: str
    carbon_kg: float | None
    production_count: float | None
    sec_kwh_per_unit: float | None


class ModeRow(Struct, kw_only=True):
    """What a machine was doing from `start` to `end` (null while it lasts), and who told it."""

    machine: str
    mode: str
    start: str
    end: str | None
    set_by: str
    set_at: str
    note: str


class RepairRow(Struct, kw_only=True):
    """A register that was reset or rolled over: what was counted between `since` and `time`."""

    machine: str
    metric: str
    since: str
    time: str
    kind: str
    before: float
    after: float
    energy_kwh: float
    repaired_at: str


class ForecastRow(Struct, kw_only=True):
    """The mean load of an hour that begins at `time`, its 95 % band and its 80 % band, in kW."""

    time: str
    mean: float
    lower: float
    upper: float
    lower_80: float
    upper_80: float


class ForecastAccuracyRow(Struct, kw_only=True):
    """How good a forecast was over the hours of a horizon that have come and were measured.

    `mae` in kW. `mase`: mae by the mean change from the same hour of the day before (days 2-7: of
    the week before) in the four weeks before the forecast. `nmbe`: sum(actual - forecast) /
    sum(actual). `coverage_80`, `coverage_95`: shares of the hours inside the bands.
    """

    issued_at: str
    horizon: Horizon
    hours: int
    mae: float
    mase: float | None
    nmbe: float | None
    coverage_80: float
    coverage_95: float


class RefusedReading(Struct, kw_only=True):
    """A reading in quarantine, as it was sent, and why."""

    machine: str
    metric: str
    time: str
    value: str
    reason: str


class Weight(Struct, kw_only=True):
    """How much a machine's anomalies weigh, and what is a warning and critical at its factory."""

    id: str
    criticality: str
    warning_per_hour: float
    critical_per_hour: float


class Taken(Struct, kw_only=True):
    """What became of readings, after the commit: sent = accepted + duplicates + refused.

    All of the refused are in quarantine; the first 1000 are named.
    """

    accepted: int
    duplicates: int
    refused: int
    quarantined: list[RefusedReading]


class Done(Struct, kw_only=True):
    """What was done to an anomaly, and the event that tells it."""

    id: str
    state: str
    event_id: str


class ModeSet(Struct, kw_only=True):
    """What a machine is doing since when, and the event that tells it."""

    id: str
    mode: str
    start: str
    event_id: str


class Queued(Struct, kw_only=True):
    """A training that waits or runs; a running one of the same machine is joined."""

    job_id: str
    machine: str
    state: str
    requested_by: str


class Asked(Struct, kw_only=True):
    """A request that the engine answers by a system.alert with this id in its details."""

    request_id: str


class Cancelled(Struct, kw_only=True):
    """A training that was cancelled."""

    id: str
    state: str


class Activated(Struct, kw_only=True):
    """The model that is used from now on."""

    id: str
    machine_id: str
    version: int
    state: str
