"""A plant on another computer: what `connect("http://...")` returns, over REST and WebSocket."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

import httpx
import pandas as pd
import websockets
from websockets.asyncio.client import connect as connect_stream

from enms_core.client import MACHINE_COLUMNS, When, modes_of, since_time, to_time
from enms_core.events import CHANNELS, Envelope
from enms_core.ingest import Receipt
from enms_core.kpi import Kpis
from enms_core.people import Forbidden
from enms_core.plant import Factory, Machine, Unknown
from enms_core.readings import COLUMNS
from enms_core.slots import resampled
from enms_core.store import modes as stored_modes
from enms_core.store.jobs import Job
from enms_core.store.meters import REPAIRS
from enms_core.store.times import to_us
from enms_core.training_job import TrainingJob

if TYPE_CHECKING:
    from enms_core.backtest import Backtest
    from enms_core.baseline import EnergyBaseline

PAGE = 10_000
LABELLED = ("started_at", "ended_at", "delta_kwh", "label")
ACCURACY = ("mae", "mase", "nmbe", "coverage_80", "coverage_95")
LEARN = timedelta(days=60)  # a backtest learns from so long before it
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
ROWS = 5_000  # readings of one request: less than its limit of 1 MiB
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
SLOTS = ("1min", "5min", "15min", "30min", "1h", "1D")  # what the server averages itself
_REFUSALS = {400: ValueError, 403: Forbidden, 404: Unknown, 409: ValueError}
_JOB_TIMES = ("created_at", "started_at", "ended_at", "alive_at")


class RemotePlant:
    """The same methods as `Plant`, for a plant that is served elsewhere.

    What the server refuses raises as it would locally: ValueError, Unknown, Forbidden; a server
    that does not answer, or is busy, ConnectionError.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        base = f"{self.url}/api/v1"
        self._http = httpx.Client(base_url=base, headers=self._headers, timeout=60.0)

    def __repr__(self) -> str:
        return f"RemotePlant({self.url!r})"

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    # -- to ask ---------------------------------------------------------------------------------

    def machines(self) -> pd.DataFrame:
        """Return a row per machine, as `Plant.machines` does."""
        return pd.DataFrame(list(self._all("/machines")), columns=MACHINE_COLUMNS)

    def machine(self, name_or_id: str) -> Machine:
        """Return a machine; raise Unknown naming the known ones."""
        known = list(self._all("/machines"))
        for row in known:
            if name_or_id in (row["name"], row["id"]):
                return _machine(row)
        names = ", ".join(row["name"] for row in known) or "none yet"
        raise Unknown(f"machine {name_or_id!r} is unknown; known are: {names}")

    def readings(
        self, machine: str, start: When, end: When | None = None, *, freq: str | None = None
    ) -> pd.DataFrame:
        """Return readings in [start, end): a column per metric, index in the site's zone."""
        found = self.machine(machine)
        asked = _span(found, start, end)
        if freq in SLOTS:
            asked["freq"] = freq
        rows = pd.DataFrame(list(self._all("/readings", None, **asked)), columns=COLUMNS)
        rows["time"] = pd.to_datetime(rows["time"], utc=True, format="ISO8601")
        wide = rows.pivot_table(index="time", columns="metric", values="value")
        wide = wide.rename_axis(columns=None).tz_convert(found.zone)
        return wide if freq is None or wide.empty else resampled(wide, freq)

    def expected(
        self, machine: str, start: When, end: When | None = None, *, metric: str | None = None
    ) -> pd.DataFrame:
        """Return value, expected, lower, upper and surprise of a metric as they were judged."""
        found = self.machine(machine)
        asked = _span(found, start, end) | ({"metric": metric} if metric else {})
        columns = ["time", "value", "expected", "lower", "upper", "surprise"]
        rows = pd.DataFrame(list(self._all("/expected", None, **asked)), columns=columns)
        index = pd.to_datetime(rows.pop("time"), utc=True, format="ISO8601")
        return rows.astype(float).set_index(index).tz_convert(found.zone)

    def anomalies(
        self,
        machine: str | None = None,
        *,
        severity: str | None = None,
        state: str | None = None,
        limit: int = 1000,
    ) -> pd.DataFrame:
        """Return anomalies as intervals, newest first, as `Plant.anomalies` does."""
        asked = {"machine": machine, "severity": severity, "state": state}
        given = {name: value for name, value in asked.items() if value is not None}
        rows = pd.DataFrame(list(self._all("/anomalies", limit, **given)))
        figures = {name: float for name in ("cost_per_hour", "confidence") if name in rows}
        return _timed(rows.astype(figures), ("started_at", "ended_at"))

    def events(
        self, since: When | timedelta = "1d", channels: list[str] | None = None
    ) -> pd.DataFrame:
        """Return events, oldest first: seq, channel, published_at and the fields of each."""
        asked = {"start": since_time(since).isoformat()}
        if channels:
            asked["channels"] = ",".join(channels)
        rows = [
            {
                "seq": row["seq"],
                "channel": row["channel"],
                "published_at": datetime.fromisoformat(row["published_at"]),
                **row["data"],
            }
            for row in self._all("/events", None, **asked)
        ]
        return pd.DataFrame(rows or {name: [] for name in ("seq", "channel", "published_at")})

    def kpis(
        self,
        machine: str | None,
        start: When,
        end: When | None = None,
        *,
        freq: str | None = None,
    ) -> pd.DataFrame:
        """Return energy, peak, load factor, cost, ... in [start, end), as `Plant.kpis` does."""
        known = {row["name"]: _machine(row) for row in self._all("/machines")}
        wanted = [self.machine(machine)] if machine else list(known.values())
        rows = [
            {**row, **{n: _local(row[n], each) for n in ("start", "end", "peak_at")}}
            for each in wanted
            for row in self._all(
                "/kpis", None, **_span(each, start, end), **({"freq": freq} if freq else {})
            )
        ]
        return pd.DataFrame(rows, columns=[field.name for field in fields(Kpis)])

    def modes(self, machine: str, start: When, end: When | None = None) -> pd.DataFrame:
        """Return the operating modes that reach into [start, end), as `Plant.modes` does."""
        found = self.machine(machine)
        rows = list(self._all("/modes", None, **_span(found, start, end)))
        return _zoned(pd.DataFrame(rows, columns=stored_modes.COLUMNS), found)

    def repairs(self, machine: str, start: When, end: When | None = None) -> pd.DataFrame:
        """Return where a register was reset or rolled over, as `Plant.repairs` does."""
        found = self.machine(machine)
        rows = list(self._all("/repairs", None, **_span(found, start, end)))
        return _zoned(pd.DataFrame(rows, columns=REPAIRS), found)

    def forecast(self, machine: str, hours: int = 24) -> pd.DataFrame:
        """Return the load of the next hours in kW, as `Plant.forecast` does."""
        found = self.machine(machine)
        rows = pd.DataFrame(list(self._all("/forecast", None, machine=found.id, hours=str(hours))))
        index = pd.to_datetime(rows.pop("time"), utc=True, format="ISO8601")
        return rows.set_index(index).tz_convert(found.zone).rename_axis("time")

    def forecast_accuracy(self, machine: str, start: When, end: When | None = None) -> pd.DataFrame:
        """Return how good forecasts were against what came, as `Plant.forecast_accuracy` does."""
        found = self.machine(machine)
        columns = ["issued_at", "horizon", "hours", *ACCURACY]
        asked = _span(found, start, end)
        rows = pd.DataFrame(list(self._all("/forecast/accuracy", None, **asked)), columns=columns)
        issued = pd.to_datetime(rows["issued_at"], utc=True, format="ISO8601").dt.as_unit("us")
        told = rows.assign(issued_at=issued.dt.tz_convert(found.zone))
        return told.astype(dict.fromkeys(ACCURACY, float) | {"hours": int})

    def jobs(self) -> pd.DataFrame:
        """Return the newest training jobs, newest first."""
        return _timed(pd.DataFrame(list(self._all("/jobs", 50))), _JOB_TIMES)

    def job(self, job_id: str) -> Job:
        """Return a training as it stands; raise Unknown for none."""
        row = self._ask("GET", f"/jobs/{job_id}")
        del row["machine"]
        times = {n: row[n] and to_us(datetime.fromisoformat(row[n])) for n in _JOB_TIMES}
        return Job(**{**row, **times})

    def models(self, machine: str | None = None) -> pd.DataFrame:
        """Return model versions, newest first, with their out-of-sample metrics as columns."""
        asked = {"machine": machine} if machine else {}
        rows = [{**row, **row.pop("metrics")} for row in self._all("/models", None, **asked)]
        times = ("created_at", "activated_at", "train_start", "train_end")
        return _timed(pd.DataFrame(rows), times)

    def model(self, machine: str, version: int | None = None) -> "EnergyBaseline":
        """Return a model version, by default the active one; raise Unknown if there is none."""
        from enms_core.baseline import EnergyBaseline  # scikit-learn takes a second to import

        for row in self._all("/models", machine=machine):
            if row["version"] == version or (version is None and row["state"] == "active"):
                return EnergyBaseline.from_json(self._ask("GET", f"/models/{row['id']}")["model"])
        raise Unknown(f"machine {machine!r} has no such model; train one first")

    # -- to act ---------------------------------------------------------------------------------

    def add_machine(
        self,
        name: str,
        type: str = "other",
        *,
        rated_kw: float | None = None,
        factory: Factory | None = None,
        criticality: str = "B",
    ) -> Machine:
        """Add a machine, as `Plant.add_machine` does."""
        site = factory or Factory(name)
        self._ask(
            "POST",
            "/machines",
            name=name,
            type=type,
            rated_kw=rated_kw,
            factory=site.name,
            timezone=site.timezone,
            criticality=criticality,
            warning_per_hour=site.warning_per_hour,
            critical_per_hour=site.critical_per_hour,
        )
        return self.machine(name)

    def weigh(
        self,
        machine: str,
        *,
        criticality: str | None = None,
        warning_per_hour: float | None = None,
        critical_per_hour: float | None = None,
    ) -> Machine:
        """Say how much a machine's anomalies weigh, as `Plant.weigh` does."""
        self._ask(
            "POST",
            f"/machines/{self.machine(machine).id}/weight",
            criticality=criticality,
            warning_per_hour=warning_per_hour,
            critical_per_hour=critical_per_hour,
        )
        return self.machine(machine)

    def write(self, rows: pd.DataFrame) -> Receipt:
        """Take readings in (columns machine, metric, time, value); returned means stored."""
        receipt = Receipt()
        for first in range(0, len(rows), ROWS):
            part = rows[COLUMNS].iloc[first : first + ROWS]
            text = part.to_csv(index=False, date_format="%Y-%m-%dT%H:%M:%S.%f%z")
            answer = self._send("POST", "/readings", content=text.encode(), kind="text/csv")
            named = tuple(answer["quarantined"])
            receipt += Receipt(
                sent=len(part),
                stored=answer["accepted"],
                duplicates=answer["duplicates"],
                quarantined=answer["refused"],
                reasons=dict(Counter(row["reason"] for row in named)),
                refused=named,
            )
        return receipt

    def set_mode(self, machine: str, mode: str, at: When | None = None, note: str = "") -> None:
        """Say in which mode a machine is from `at` (default: now) on, as `Plant.set_mode` does."""
        found = self.machine(machine)
        start = None if at is None else to_time(at, found).isoformat()
        self._ask("POST", f"/machines/{found.id}/mode", mode=mode, at=start, note=note)

    def train(self, machine: str, model: str = "baseline") -> TrainingJob:
        """Ask for a training and return its job at once; a running one of the same is joined."""
        asked = self._ask("POST", "/training", machine=machine, model=model)
        return TrainingJob(self, asked["job_id"], asked["machine"])

    def cancel(self, job_id: str) -> bool:
        """Cancel a training that waits or runs; False if it had ended."""
        try:
            self._ask("DELETE", f"/jobs/{job_id}")
        except ValueError:
            return False
        return True

    def activate(self, model_id: str) -> None:
        """Make a model version the active one of its machine; raise Unknown for none."""
        self._ask("POST", f"/models/{model_id}/activate")

    def act(self, anomaly_id: str, action: str, *, note: str = "") -> str:
        """Acknowledge, resolve or reopen an anomaly; return its state."""
        return str(self._ask("POST", f"/anomalies/{anomaly_id}/{action}", note=note)["state"])

    def label(self, anomaly_id: str, label: str, *, note: str = "") -> None:
        """Say what an anomaly was: "true", "false", or "expected", and then why."""
        self._ask("POST", f"/anomalies/{anomaly_id}/label", label=label, note=note)

    def backtest(
        self,
        machine: str,
        detector: str = "stream",
        start: When = "2000-01-01",
        end: When | None = None,
        *,
        false_alarms_per_month: float | None = None,
    ) -> "Backtest":
        """Judge a labelled past again, as `Plant.backtest` does, on this computer."""
        from enms_core.backtest import backtest  # scikit-learn takes a second to import

        found, first = self.machine(machine), to_time(start, self.machine(machine))
        wide = self.readings(machine, max(first - LEARN, EARLIEST), end)
        known = self.anomalies(machine).reindex(columns=[*LABELLED])
        known = known.astype(dict.fromkeys(LABELLED[:2], "datetime64[us, UTC]"))
        try:
            baseline = self.model(machine)
        except Unknown:
            baseline = None
        return backtest(
            found,
            wide.tz_convert("UTC"),
            baseline,
            known[known["label"].notna()],
            first,
            modes=modes_of(self.modes(machine, max(first - LEARN, EARLIEST), end)),
            detector=detector,
            false_alarms_per_month=false_alarms_per_month,
        )

    def request_detection(
        self, machine: str | None = None, start: When | None = None, end: When | None = None
    ) -> str:
        """Ask the engine to judge a span again (default: the last day); it tells by an alert."""
        found = self.machine(machine) if machine else None
        given = {"start": start, "end": end}
        times = {n: to_time(at, found).isoformat() for n, at in given.items() if at is not None}
        return str(self._ask("POST", "/detections", machine=machine, **times)["request_id"])

    # -- to follow ------------------------------------------------------------------------------

    async def watch(
        self, *channels: str, since: int | None = None, epoch: str = ""
    ) -> AsyncGenerator[Envelope]:
        """Yield events for ever, from after `since` or from now on, whatever happens to the server.

        `channels` may hold patterns such as "training.*". It connects again after 1 s, doubling to
        30 s, and takes up where it was; where the server cannot tell what was missed it goes on
        from now.
        """
        wanted = {c for c in CHANNELS for p in channels or ("*",) if fnmatch(c, p)}
        place, pause = (since, epoch), FIRST_PAUSE_S
        while True:
            try:
                async with connect_stream(
                    self._stream(*place), additional_headers=self._headers
                ) as s:
                    hello = json.loads(await s.recv())
                    place, pause = _place(hello, place), FIRST_PAUSE_S
                    async for text in s:
                        envelope = _envelope(text)
                        if envelope is None:
                            continue
                        if envelope.seq is not None:
                            place = (envelope.seq, envelope.epoch)
                        if envelope.channel in wanted:
                            yield envelope
            except (OSError, websockets.WebSocketException) as error:
                _raise_refusal(error)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _stream(self, since: int | None, epoch: str) -> str:
        query = "" if since is None else f"?since={since}&epoch={epoch}"
        return f"{self.url.replace('http', 'ws', 1)}/api/v1/ws/dashboard{query}"

    # -------------------------------------------------------------------------------------------

    def _all(self, path: str, most: int | None = None, **asked: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of a list, page by page."""
        left, cursor = most, None
        while left is None or left > 0:
            page = asked | {"limit": str(PAGE if left is None else min(PAGE, left))}
            page |= {"cursor": cursor} if cursor else {}
            answer = self._answer(self._http.build_request("GET", path, params=page))
            yield from answer["items"]
            left = None if left is None else left - len(answer["items"])
            cursor = answer["next"]
            if cursor is None:
                return

    def _ask(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        given = {name: value for name, value in body.items() if value is not None}
        return self._send(method, path, content=json.dumps(given).encode(), kind="application/json")

    def _send(self, method: str, path: str, *, content: bytes, kind: str) -> dict[str, Any]:
        sent = {} if method == "GET" else {"content": content, "headers": {"Content-Type": kind}}
        return self._answer(self._http.build_request(method, path, **sent))  # type: ignore[arg-type]

    def _answer(self, request: httpx.Request) -> dict[str, Any]:
        try:
            answer = self._http.send(request)
            told: dict[str, Any] = answer.json()
        except (httpx.TransportError, ValueError) as error:
            raise ConnectionError(f"{self.url} does not answer: {error}") from error
        if answer.is_success:
            return told
        field = f"{told['field']}: " if told.get("field") else ""
        message = f"{field}{told.get('message', answer.reason_phrase)}"
        if answer.status_code == 401:
            raise PermissionError(message)
        raise _REFUSALS.get(answer.status_code, ConnectionError)(message)


def _machine(row: dict[str, Any]) -> Machine:
    site = Factory(
        row["factory"],
        row["timezone"],
        row["currency"],
        row["price_per_kwh"],
        row["carbon_kg_per_kwh"],
        warning_per_hour=row["warning_per_hour"],
        critical_per_hour=row["critical_per_hour"],
    )
    return Machine(row["name"], row["type"], row["rated_kw"], site, row["id"], row["criticality"])


def _span(machine: Machine, start: When, end: When | None) -> dict[str, str]:
    last = datetime.now(UTC) if end is None else to_time(end, machine)
    first = to_time(start, machine)
    return {"machine": machine.id, "start": first.isoformat(), "end": last.isoformat()}


def _local(at: str | None, machine: Machine) -> datetime | None:
    return None if at is None else datetime.fromisoformat(at).astimezone(machine.zone)


def _timed(frame: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    """Return the frame with its texts as times (UTC)."""
    kept = [name for name in names if name in frame]
    return frame.assign(
        **{name: pd.to_datetime(frame[name], utc=True, format="ISO8601") for name in kept}
    )


_ZONED = ("start", "end", "set_at", "time", "since", "repaired_at")


def _zoned(table: pd.DataFrame, machine: Machine) -> pd.DataFrame:
    """Return the table with its texts as times in the site's zone."""
    timed = _timed(table, _ZONED)
    kept = [name for name in _ZONED if name in timed]
    times = {
        name: pd.DatetimeIndex(timed[name]).as_unit("us").tz_convert(machine.zone) for name in kept
    }
    return timed.assign(**times)


def _envelope(text: str | bytes) -> Envelope | None:
    try:
        return Envelope.from_json(text)
    except ValueError:
        return None  # an answer, or a kind that this version does not know


def _place(hello: dict[str, Any], before: tuple[int | None, str]) -> tuple[int | None, str]:
    """Return from where to take up: where it was, or from now on where that cannot be."""
    return before if hello.get("recovered") else (hello.get("seq"), str(hello.get("epoch", "")))


def _raise_refusal(error: Exception) -> None:
    """Raise what trying again does not mend."""
    code = getattr(getattr(error, "rcvd", None), "code", 0)
    if code in (4401, 4403):
        raise PermissionError("no right to this stream; connect with a token") from error
