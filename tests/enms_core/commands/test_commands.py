import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from enms_core.__main__ import main
from enms_core.client import connect
from enms_core.commands import COMMANDS
from enms_core.sources import live
from enms_core.sources.simulator import MACHINES, Simulator
from tests.plants import ROOT

START = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture(autouse=True)
def home(settings, monkeypatch):
    """Let the commands act on a home of their own; undo what they do to signals."""
    for name in [name for name in os.environ if name.startswith("ENMS_")]:
        monkeypatch.delenv(name)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield settings.home
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def enms(capsys):
    """Run a command in this process; return its exit code, what it printed, and what it said."""

    def run(*words):
        try:
            code = main([str(word) for word in words])
        except SystemExit as ended:
            code = ended.code
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.fixture
def plant(settings):
    """Give the plant that the commands act on."""
    connected = connect(settings)
    yield connected
    connected.store.dispose()


@pytest.fixture
def file(tmp_path):
    """Give a file of two machines' readings, as the simulator exports them."""
    names = ["Compressor-1", "Boiler-1"]
    rows = Simulator(3).readings(START, START + timedelta(days=3), timedelta(minutes=10), names)
    rows.to_csv(tmp_path / "plant.csv", index=False)
    return tmp_path / "plant.csv"


# -- what a person gets wrong --------------------------------------------------------------------


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_a_help(enms, command):
    code, out, _ = enms(command, "--help")
    assert code == 0
    assert out.startswith(f"usage: enms {command}")
    assert len(out.splitlines()) > 3


def test_the_overview_names_every_command(enms):
    code, out, _ = enms("--help")
    assert code == 0
    assert all(command in out for command in COMMANDS)
    for words in ((), ("bogus",)):
        assert enms(*words)[0] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "Nobody"], "machine 'Nobody' is unknown; known are: none yet"),
        (["detect", "Nobody", "--start", "2026-01-01", "--end", "2026-02-01"], "is unknown"),
        (["import", "nowhere.csv", "--machine", "X"], "nowhere.csv"),
        (["replay", "nowhere.csv", "--machine", "X"], "nowhere.csv"),
        (["import", "{file}", "--time", "when"], "has no column 'when'; it has: machine"),
        (["simulate"], "give --inject KIND --machine NAME, or --export FILE"),
        (["simulate", "--inject", "leak"], "give --inject KIND --machine NAME"),
        (["simulate", "--inject", "leak", "--machine", "Nobody"], "must be one of Compressor-1"),
        (["simulate", "--inject", "leak", "--machine", "Boiler-1", "--size", "-1"], "positive"),
        (["simulate", "--inject", "leak", "--machine", "Boiler-1", "--minutes", "0"], "after its"),
        (["machine", "add", "X", "--timezone", "Mars/One"], "an IANA name such as Europe/Berlin"),
        (["machine", "add", ""], "must be 1 to 200 characters"),
        (["machine", "mode", "X", "idle"], "machine 'X' is unknown"),
        (["machine", "add", "X", "--warning-per-hour", "0"], "must be positive"),
        (["machine", "add", "X", "--warning-per-hour", "9"], "must begin below"),
    ],
)
def test_what_is_wrong_is_one_line(enms, file, words, said):
    code, out, err = enms(*(word.format(file=file) for word in words))
    assert code == 1
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith("enms: ")
    assert said in err


def test_a_setting_that_is_wrong_is_one_line(enms, monkeypatch):
    monkeypatch.setenv("ENMS_AUTH", "maybe")
    assert enms("status") == (
        1, "", "enms: ENMS_AUTH is 'maybe'; it must be one of none, basic, oauth\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ["machine", "add", "X", "--type", "spoon"],
        ["train", "X", "--model", "forest"],
        ["import", "x.csv", "--map", "power_kw"],
        ["simulate", "--inject", "rust"],
    ],
)
def test_words_that_cannot_be_are_refused(enms, words):
    code, _, err = enms(*words)
    assert code == 2
    assert "usage: enms" in err


def test_a_name_is_given_once(enms):
    assert enms("machine", "add", "Pump")[0] == 0
    assert enms("machine", "add", "Pump")[::2] == (
        1, "enms: machine 'Pump' is there already; choose another name\n"
    )  # fmt: skip


# -- machines and readings -----------------------------------------------------------------------


def test_a_mode_is_told_in_the_zone_of_the_site(enms, plant):
    enms("machine", "add", "Press", "--timezone", "Asia/Seoul")
    at = ("--at", "2026-03-02T14:00")
    code, out, _ = enms("machine", "mode", "Press", "maintenance", *at, "--note", "new seals")
    assert (code, out) == (0, "Press: maintenance from 2026-03-02T14:00 on\n")
    assert enms("machine", "mode", "Press", "running")[1] == "Press: running from now on\n"
    told = plant.modes("Press", "2026-03-01")
    assert told["mode"].tolist() == ["maintenance", "running"]
    assert told["start"][0] == pd.Timestamp("2026-03-02T14:00+09:00")
    assert told["note"][0] == "new seals"


def test_what_anomalies_weigh_is_said(enms, plant):
    plant.add_machine("Saw")
    code, out, _ = enms("machine", "weigh", "Saw", "--criticality", "A", "--critical-per-hour", 9)
    assert (code, out) == (
        0,
        "Saw: criticality A; at Saw a warning from 0.9, critical from 9 EUR an hour on\n",
    )
    code, _, err = enms("machine", "weigh", "Saw", "--warning-per-hour", 10)
    assert (code, "must begin below" in err) == (1, True)


def test_machines_are_added_and_listed(enms, plant):
    words = ("--type", "pump", "--rated-kw", "15", "--timezone", "Asia/Seoul")
    code, out, err = enms("machine", "add", "Pump 1", *words, "--factory", "Works")
    assert (code, err) == (0, "")
    assert out == f"added Pump 1 ({plant.machine('Pump 1').id}) at Works, Asia/Seoul\n"
    _, out, _ = enms("machine", "list")
    assert "Pump 1" in out
    assert "15.0" in out
    assert plant.machine("Pump 1").type == "pump"
    limits = ("--warning-per-hour", "2", "--critical-per-hour", "6.5")
    assert enms("machine", "add", "Saw", "--criticality", "A", *limits)[0] == 0
    saw = plant.machine("Saw")
    assert (saw.criticality, saw.factory.severe_from) == ("A", (2.0, 6.5))


def test_a_file_is_imported_once(enms, plant, file):
    for name in ("Compressor-1", "Boiler-1"):
        enms("machine", "add", name)
    rows = len(pd.read_csv(file))
    code, out, _ = enms("import", file)
    assert (code, out) == (0, f"{rows} readings: {rows} stored, 0 duplicate, 0 quarantined\n")
    _, out, _ = enms("import", file)
    assert out == f"{rows} readings: 0 stored, {rows} duplicate, 0 quarantined\n"
    assert len(plant.readings("Boiler-1", START)) == 3 * 144


def test_what_is_refused_is_counted_with_its_reason(enms, file):
    enms("machine", "add", "Boiler-1")
    code, out, _ = enms("import", file)
    assert code == 0
    assert "x machine is unknown" in out.splitlines()[1]


def test_a_file_is_replayed(enms, plant, file):
    for name in ("Compressor-1", "Boiler-1"):
        enms("machine", "add", name)
    code, out, _ = enms("replay", file, "--speed", "1e9")
    assert code == 0
    assert "0 duplicate, 0 quarantined" in out
    assert len(plant.readings("Boiler-1", START)) == 3 * 144


def test_the_past_is_judged(enms, plant, tmp_path):
    enms("machine", "add", "Meter", "--rated-kw", "40", "--timezone", "Europe/Berlin")
    times = pd.date_range(START, periods=96 * 15, freq="15min")
    power = [20.0 + 0.1 * (n % 7) for n in range(len(times))]
    power[96 * 14 : 96 * 14 + 8] = [39.0] * 8
    pd.DataFrame({"time": times, "power_kw": power}).to_csv(tmp_path / "m.csv", index=False)
    assert enms("import", tmp_path / "m.csv", "--machine", "Meter")[0] == 0
    span = ("--start", "2026-03-14", "--end", "2026-03-17")
    code, out, _ = enms("detect", "Meter", *span)
    assert code == 0
    first, last = out.splitlines()
    assert first.startswith("2026-03-16 01:00")
    assert "kWh" in first
    assert last == "1 anomalies, 1 of them new"
    assert enms("detect", "Meter", *span)[1].splitlines()[-1] == "1 anomalies, 0 of them new"


# -- the simulated plant -------------------------------------------------------------------------


def test_the_simulated_past_is_exported(enms, tmp_path):
    target = tmp_path / "out.csv"
    code, out, _ = enms("simulate", "--export", target, "--days", "0.5", "--machine", "Boiler-1")
    table = pd.read_csv(target)
    assert (code, out) == (0, f"wrote {len(table):,} readings to {target}\n")
    assert len(table) == 3 * 720
    assert set(table["machine"]) == {"Boiler-1"}


def test_a_fault_is_put_in(enms, plant):
    code, out, _ = enms("simulate", "--inject", "leak", "--machine", "Compressor-1")
    assert code == 0
    assert out.startswith("leak at Compressor-1 until ")
    [fault] = live.faults(plant.store)
    assert (fault.kind, fault.machine) == ("leak", "Compressor-1")


def test_a_store_is_set_up_once(enms, plant, monkeypatch):
    monkeypatch.setenv("ENMS_SOURCE", "simulator")
    monkeypatch.setattr(live, "HISTORY", timedelta(days=1))
    monkeypatch.setattr(live, "PAST_INTERVAL", timedelta(minutes=15))
    for _ in range(2):
        assert enms("setup")[0] == 0
    assert len(plant.machines()) == len(MACHINES)
    assert len(plant.jobs()) == len(MACHINES)


def test_without_a_simulator_nothing_is_set_up(enms, plant):
    assert enms("setup")[0] == 0
    assert plant.machines().empty


# -- jobs and events -----------------------------------------------------------------------------


def test_a_training_is_asked_for(enms, plant):
    enms("machine", "add", "Pump")
    code, out, _ = enms("train", "Pump")
    assert code == 0
    assert out == f"job {plant.jobs()['id'][0]} is queued\n"


@pytest.fixture
def worker(monkeypatch, valkey):
    """Let the commands use a Redis, and run a worker."""
    monkeypatch.setenv("ENMS_REDIS_URL", valkey.url)
    process = subprocess.Popen(
        [sys.executable, "-m", "enms_core", "worker"], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    yield process
    process.kill()
    process.wait(10)


def test_a_training_is_followed_to_its_end(enms, plant, file, worker):
    enms("machine", "add", "Compressor-1", "--timezone", "Europe/Berlin")
    enms("import", file)
    with_past = Simulator(3).readings(
        START + timedelta(days=3), START + timedelta(days=15), timedelta(minutes=15)
    )
    plant.write(with_past[with_past["machine"] == "Compressor-1"])
    code, out, _ = enms("train", "Compressor-1", "--wait")
    lines = out.splitlines()
    assert code == 0
    shares = [int(line.split(" %")[0]) for line in lines if " %  " in line]
    assert shares == sorted(shares)
    assert lines[-2].startswith("100 %  version 1: rows ")
    assert "cv_rmse" in lines[-2]
    assert "production_per_h" in lines[-1]


def test_a_training_that_fails_is_one_line_too(enms, worker):
    enms("machine", "add", "Empty")
    code, _, err = enms("train", "Empty", "--wait")
    assert code == 1
    assert err.startswith("enms: training of Empty failed: no readings of power_kw")
    assert len(err.splitlines()) == 1


def test_events_are_a_json_a_line(enms, plant):
    enms("machine", "add", "Pump")
    for _ in range(3):
        assert plant.train("Pump").cancel()
    code, out, _ = enms("events")
    assert code == 0
    events = [json.loads(line) for line in out.splitlines()]
    assert [e["seq"] for e in events] == [1, 2, 3, 4]
    assert [e["channel"] for e in events] == ["machine.added"] + 3 * ["training.completed"]
    _, out, _ = enms("events", "--last", "1")
    assert [json.loads(line)["seq"] for line in out.splitlines()] == [4]


def test_events_are_followed(enms, plant):
    enms("machine", "add", "Pump")
    plant.train("Pump").cancel()
    command = [sys.executable, "-m", "enms_core", "events", "--follow"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with process.stdout as lines:
        assert [json.loads(lines.readline())["seq"] for _ in range(2)] == [1, 2]
        plant.train("Pump").cancel()
        assert json.loads(lines.readline())["seq"] == 3
        process.send_signal(signal.SIGINT)
        assert lines.read() == ""
    assert process.wait(30) == 130


# -- status --------------------------------------------------------------------------------------

KEYS = {
    "broker", "server", "worker", "source", "engine", "newest_reading", "queue", "jobs", "events",
    "events_per_s", "quarantined",
}  # fmt: skip


def test_status_where_nothing_was_ever_there(enms, home):
    code, out, err = enms("status", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert set(report) == KEYS
    assert report["newest_reading"] is None
    assert {report[part]["pid"] for part in ("broker", "server", "worker", "engine")} == {None}


def test_status_as_text(enms, plant, file):
    enms("machine", "add", "Boiler-1")
    enms("import", file)
    code, out, _ = enms("status")
    assert code == 0
    first, *lines = out.splitlines()
    assert first.startswith("Nothing of this plant runs; start it with ./panel_serve.sh")
    assert [line.split()[0] for line in lines] == list(json.loads(
        enms("status", "--json")[1]
    ))  # fmt: skip
    assert "2026-03-04T23:50:00+00:00" in out
