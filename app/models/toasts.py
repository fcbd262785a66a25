"""Which events are worth a toast, of which kind, for how long; many at once become one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from app.models.words import LABELS, counted
from enms_core.events import (
    AnomalyDetected,
    AnomalyUpdated,
    Envelope,
    Event,
    SystemAlert,
    TrainingCompleted,
    TrainingStarted,
)

MOST = 5
KINDS = ("danger", "warning", "info", "success")  # the gravest first
SECONDS = {"success": 4, "info": 4, "warning": 6, "danger": 8}
OF_SEVERITY = {"critical": "danger", "warning": "warning"}
ENDINGS = {"completed": "success", "cancelled": "info"}
FINDINGS, MESSAGES = "anomalies", "messages"


@dataclass(frozen=True, kw_only=True)
class Toast:
    """A short message that leaves by itself; one `in_place_of_all` takes the others with it."""

    kind: str
    title: str
    text: str = ""
    about: str = MESSAGES
    in_place_of_all: bool = False

    @property
    def seconds(self) -> int:
        """How long it stays."""
        return SECONDS[self.kind]


class Toasts:
    """Turns events into toasts, at most five of them at a time."""

    def __init__(self, machine_of: Callable[[str], str] = lambda _job_id: "") -> None:
        self._machine_of = machine_of
        self._visible: list[tuple[float, Toast]] = []  # when it leaves, and what it is

    def of(self, envelopes: Iterable[Envelope], now: float) -> list[Toast]:
        """Return what to show for these events at this moment (seconds)."""
        return self.show([t for e in envelopes if (t := self._toast(e.event))], now)

    def show(self, toasts: list[Toast], now: float) -> list[Toast]:
        """Return the toasts to show: as they are, or one in place of all when they are too many."""
        self._visible = [(end, toast) for end, toast in self._visible if end > now]
        if not toasts:
            return []
        if len(self._visible) + len(toasts) > MOST:
            everything = [*(toast for _, toast in self._visible), *toasts]
            end = now + _summary(everything).seconds
            self._visible = [(end, toast) for toast in everything]
            return [_summary(everything)]
        self._visible += [(now + toast.seconds, toast) for toast in toasts]
        return toasts

    def _toast(self, event: Event) -> Toast | None:
        if isinstance(event, AnomalyDetected):
            return Toast(
                kind=OF_SEVERITY.get(event.severity, "info"),
                title=f"{event.machine}: {event.severity}",
                text=event.reason,
                about=FINDINGS,
            )
        if isinstance(event, AnomalyUpdated):
            return _of_change(event)
        if isinstance(event, TrainingStarted):
            return Toast(
                kind="info",
                title=f"{event.machine}: training started",
                text=f"{event.model_type}, asked for by {event.requested_by}",
            )
        if isinstance(event, TrainingCompleted):
            return _of_ending(event, self._machine_of(event.job_id))
        if isinstance(event, SystemAlert):
            return Toast(kind=OF_SEVERITY.get(event.severity, "info"), title=event.message)
        return None


def _of_change(event: AnomalyUpdated) -> Toast | None:
    if event.label is not None:
        title = f"{event.by} said of an anomaly: {LABELS[event.label].lower()}"
        return Toast(kind="info", title=title, text=event.note)
    if event.severity:
        return Toast(
            kind=OF_SEVERITY.get(event.severity, "info"),
            title=f"Anomaly is {event.severity} now",
            text=event.note,
            about=FINDINGS,
        )
    if event.state == "open":
        return None
    return Toast(kind="info", title=f"Anomaly {event.state}", text=event.note)


def _of_ending(event: TrainingCompleted, machine: str) -> Toast:
    title = f"{machine}: training {event.status}" if machine else f"Training {event.status}"
    kind = ENDINGS.get(event.status, "danger")
    if event.status != "completed":
        return Toast(kind=kind, title=title, text=event.error_message)
    error = event.metrics.get("cv_rmse")
    quality = "" if error is None else f", CV(RMSE) {100 * error:.1f} % on unseen weeks"
    return Toast(kind=kind, title=title, text=f"version {event.model_version}{quality}")


def _summary(toasts: list[Toast]) -> Toast:
    kinds = [toast.kind for toast in toasts]
    gravest = min(kinds, key=KINDS.index)
    found = [toast for toast in toasts if toast.about == FINDINGS]
    critical = sum(toast.kind == "danger" for toast in found)
    parts = []
    if found:
        parts.append(counted(len(found), "anomaly", "anomalies"))
    if critical:
        parts.append(f"{critical} critical")
    if rest := len(toasts) - len(found):
        parts.append(counted(rest, "message", "messages"))
    text = f"The newest: {toasts[-1].title}"
    return Toast(kind=gravest, title=", ".join(parts), text=text, in_place_of_all=True)
