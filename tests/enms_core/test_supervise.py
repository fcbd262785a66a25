import io
import itertools
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from enms_core import supervise
from enms_core.settings import Settings

ROOT = Path(__file__).parents[2]
LINUX = sys.platform.startswith("linux")

SLEEP = "import time; from enms_core import supervise; supervise.die_with_parent(); "
SCRIPTS = {
    "broker": SLEEP + "print('hello', flush=True); time.sleep(600)",
    "engine": SLEEP + "print('hello', flush=True); time.sleep(600)",
    # Like RQ's worker: it waits for a work horse, in a group of its own, that ignores SIGTERM.
    "worker": """
import signal, subprocess, sys
from enms_core import supervise
supervise.die_with_parent()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
horse = "import time; time.sleep(600)"
subprocess.run([sys.executable, "-c", horse], process_group=0)
""",
    "server": "import time; time.sleep(0.5)",
    "listener": """
import dataclasses, json, sys
from enms_core import supervise
print("listening", file=sys.stderr, flush=True)
def tell(wrong):
    with open("told", "a") as file:
        for alert in wrong:
            file.write(json.dumps(dataclasses.asdict(alert)) + chr(10))
supervise.listen(tell, sys.stdin, sys.stdout)
""",
    "plant": """
import sys
from pathlib import Path
from enms_core import supervise
home, *names = sys.argv[1:]
home = Path(home)
parts = [supervise.Part(name, [sys.executable, str(home / f"{name}.py")]) for name in names]
listener = [sys.executable, str(home / "listener.py")]
with supervise._only_one(home):
    sys.exit(supervise.keep(home, parts, listener, "http://localhost:5006"))
""",
}


def settings_of(home, **more):
    return Settings.from_env({"ENMS_HOME": str(home), "ENMS_SOURCE": "none", **more})


def eventually(check, seconds=60.0):  # a guard against hanging, no figure
    end = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.02)
    return value


def tree(process):
    return [process, *process.children(recursive=True)]


def gone(processes, seconds):
    _, left = psutil.wait_procs(processes, timeout=seconds)
    return not left


class Plant:
    """A supervised plant in a process of its own."""

    def __init__(self, home, *more, output=subprocess.PIPE):
        self.home = home
        for name, code in SCRIPTS.items():
            (home / f"{name}.py").write_text(code)
        self.settings = settings_of(home)
        self.popen = subprocess.Popen(
            [sys.executable, home / "plant.py", home, "broker", "engine", "worker", *more],
            cwd=home,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.process = psutil.Process(self.popen.pid)

    def up(self):
        """Wait for all parts, and for the horse of the worker."""
        eventually(lambda: all(self.pids(["broker", "engine", "worker"])))
        eventually(lambda: psutil.Process(self.pids(["worker"])[0]).children())
        eventually(lambda: all(map(self.logged, ["broker", "engine", "listener"])))
        return self

    def pids(self, names):
        found = supervise.parts(self.settings)
        return [found[name] for name in names]

    def logged(self, part):
        path = self.home / "logs" / f"{part}.log"
        return path.read_text() if path.exists() else ""

    def told(self):
        path = self.home / "told"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def end(self):
        below = tree(self.process) if self.process.is_running() else []
        for process in below:
            process.kill()
        self.popen.communicate()


@pytest.fixture
def start(tmp_path):
    plants = []

    def start_plant(*more, home=tmp_path, **options):
        home.mkdir(exist_ok=True)
        plants.append(Plant(home, *more, **options))
        return plants[-1]

    yield start_plant
    for plant in plants:
        plant.end()


def test_nothing_runs(tmp_path):
    settings = settings_of(tmp_path)
    assert supervise.parts(settings) == dict.fromkeys(["broker", "engine", "worker", "server"])
    assert supervise.running_url(settings) is None


@pytest.mark.kill
def test_a_killed_part_is_back_within_two_seconds_and_told(start):
    plant = start().up()
    assert supervise.running_url(plant.settings) == "http://localhost:5006"
    (killed,) = plant.pids(["engine"])
    os.kill(killed, signal.SIGKILL)
    since = time.monotonic()
    eventually(lambda: plant.pids(["engine"])[0] not in (killed, None))
    assert time.monotonic() - since < 2
    (alert,) = eventually(plant.told)
    assert alert["alert_type"] == "part_restarted"
    assert alert["severity"] == "warning"
    assert alert["message"] == "The engine stopped unexpectedly; it is being started again."
    assert alert["details"] == {"part": "engine"}
    eventually(lambda: plant.logged("engine") == "hello\nhello\n")


@pytest.mark.kill
def test_a_part_that_ends_by_itself_is_told_until_it_is_too_often(start):
    plant = start("server").up()
    eventually(lambda: "part_failing" in [alert["alert_type"] for alert in plant.told()])
    eventually(lambda: plant.pids(["server"])[0])
    kinds = [alert["alert_type"] for alert in plant.told()]
    assert kinds == ["part_restarted", "part_failing"]
    assert plant.told()[-1]["severity"] == "critical"


@pytest.mark.kill
@pytest.mark.skipif(not LINUX, reason="only Linux has a file that is always full")
def test_a_full_disk_ends_neither_supervisor_nor_parts(start, tmp_path):
    (tmp_path / "logs").mkdir()
    for name in ("supervisord", "broker", "engine"):
        (tmp_path / "logs" / f"{name}.log").symlink_to("/dev/full")
    with open("/dev/full", "w") as full:
        plant = start(output=full)
    eventually(lambda: all(plant.pids(["broker", "engine"])))
    broker, killed = plant.pids(["broker", "engine"])
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: plant.pids(["engine"])[0] not in (killed, None))
    assert plant.pids(["broker"]) == [broker]
    assert plant.popen.poll() is None


@pytest.mark.kill
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything_within_five_seconds(start, number):
    plant = start().up()
    everything = tree(plant.process)
    assert len(everything) == 6, "supervisor, listener, broker, engine, worker and its horse"
    plant.process.send_signal(number)
    assert gone(everything[1:], 5)
    assert plant.popen.wait(10) == 0
    assert plant.told() == []
    assert plant.popen.stdout.read() == "", "a quiet supervisor"


@pytest.mark.kill
@pytest.mark.skipif(not LINUX, reason="only Linux can tell a child that its parent died")
def test_the_parts_die_with_a_killed_supervisor(start):
    plant = start().up()
    everything = tree(plant.process)
    horse = everything[-1]
    parts = [psutil.Process(pid) for pid in plant.pids(["broker", "engine", "worker"])]
    plant.popen.kill()
    assert gone(parts, 5)
    horse.kill()  # jobs ask for it themselves: this one did not
    plant.popen.wait()
    assert start().up().pids(["engine"]) != [None], "nothing stale is in the way"


@pytest.mark.kill
def test_only_one_plant_per_home(start):
    first = start().up()
    second = start()
    said, _ = second.popen.communicate(timeout=60)
    assert second.popen.returncode == 1
    assert f"(pid {first.popen.pid})" in said
    assert all(first.pids(["broker", "engine", "worker"]))


@pytest.mark.kill
def test_an_odd_and_long_home(start, tmp_path):
    plant = start(home=tmp_path / ('50% of it\'s, "long" ' + "x" * 60)).up()
    folder = Path(supervise._read_config(plant.home)["unix_http_server"]["file"]).parent
    assert folder != plant.home
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    plant.popen.terminate()
    plant.popen.wait(6)
    assert not folder.exists()


def test_a_home_that_the_configuration_cannot_hold(tmp_path):
    with pytest.raises(ValueError, match="supervisor cuts there"):
        supervise.write_config(tmp_path / "a #1", [], [], tmp_path / "sock")


def test_the_configuration_is_private(tmp_path):
    parts = supervise.plant_parts(settings_of(tmp_path))
    path = supervise.write_config(tmp_path, parts, [], tmp_path / "supervisor.sock")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "secrets").iterdir()} == {0o600}


def test_the_secrets_are_made_once_and_never_in_a_command_line(tmp_path):
    first = supervise.plant_parts(settings_of(tmp_path))[-1]
    again = supervise.plant_parts(settings_of(tmp_path))[-1]
    assert first == again
    assert len(set(first.environment.values())) == 3
    assert not set(first.environment.values()) & set(first.command)


def test_the_source_is_a_part_when_there_is_one(tmp_path):
    names = [part.name for part in supervise.plant_parts(settings_of(tmp_path))]
    assert names == ["broker", "engine", "worker", "server"]
    simulated = settings_of(tmp_path, ENMS_SOURCE="simulator")
    assert [p.name for p in supervise.plant_parts(simulated)] == list(supervise.PARTS)


def sent(*events):
    """Write events as supervisord sends them."""
    lines = ""
    for serial, (name, payload) in enumerate(events):
        lines += (
            f"ver:3.0 server:supervisor serial:{serial} pool:listener poolserial:{serial} "
            f"eventname:{name} len:{len(payload)}\n{payload}"
        )
    return io.StringIO(lines)


def exited(part, expected=0):
    payload = f"processname:{part} groupname:plant from_state:RUNNING expected:{expected} pid:77"
    return "PROCESS_STATE_EXITED", payload


TICK = ("TICK_5", "when:1763813130")


def told(*events, **more):
    """Return what was wrong, each time that it changed: part and kind."""
    wrong = []
    supervise.listen(wrong.append, sent(*events), io.StringIO(), **more)
    return [[(w.subject, w.alert_type) for w in each] for each in wrong]


def at(*times):
    """Return a clock that is asked once for a stop and once for what is wrong."""
    return iter([time for time in times for _ in (0, 1)]).__next__


def test_the_listener_answers_the_protocol():
    stdout = io.StringIO()
    supervise.listen(lambda _: None, sent(TICK, exited("engine")), stdout)
    assert stdout.getvalue() == "READY\nRESULT 2\nOK" * 2 + "READY\n"


def test_only_what_was_not_asked_for_is_told():
    assert told(TICK, exited("engine"), exited("worker", expected=1)) == [
        [],
        [("engine", "part_restarted")],
    ]


def test_what_cannot_be_started_is_told():
    fatal = ("PROCESS_STATE_FATAL", "processname:worker groupname:plant from_state:BACKOFF")
    assert told(fatal) == [[("worker", "part_failing")]]


def test_a_part_that_runs_again_is_told_once():
    times = iter([0, 0, 5, 9, 11, 12])
    ticks = [exited("engine"), TICK, TICK, TICK, TICK]
    assert told(*ticks, clock=lambda: next(times)) == [[("engine", "part_restarted")], []]


def test_a_part_that_stops_again_and_again_is_one_alert():
    events = [exited("engine")] * 6
    assert told(*events, clock=at(0, 1, 2, 3, 4, 5)) == [
        [("engine", "part_restarted")],
        [("engine", "part_failing")],
    ]


def test_what_could_not_be_told_is_told_at_the_next_event(caplog):
    attempts, wrong = [], []

    def tell(now):
        attempts.append(now)
        if len(attempts) < 3:
            raise OSError("the store is locked")
        wrong.extend(each.subject for each in now)

    supervise.listen(tell, sent(exited("engine"), exited("worker"), TICK), io.StringIO())
    assert wrong == ["engine", "worker"]
    assert "the store is locked" in caplog.text


def test_the_server_asks_for_another_port_when_its_own_is_taken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit, match=f"--port {port + 1}"):
            supervise.run(settings_of(tmp_path), ["--port", str(port)])


def test_a_port_that_is_no_number(tmp_path):
    with pytest.raises(ValueError, match="right would be: --port 5010"):
        supervise.server_command(settings_of(tmp_path), ["--port", "http"])


@pytest.mark.parametrize(
    ("args", "origins"),
    [
        ([], ["localhost:5006", "127.0.0.1:5006"]),
        (["--port=5010"], ["localhost:5010", "127.0.0.1:5010"]),
        (["--address", "10.0.0.7"], ["10.0.0.7:5006"]),
        (["--allow-websocket-origin", "enms.example"], ["enms.example"]),
        (["--allow-websocket-origin=enms.example"], []),
    ],
)
def test_the_origins_are_those_of_the_address(tmp_path, args, origins):
    args = ["--basic-auth=users.json", *args]
    command = supervise.server_command(settings_of(tmp_path, ENMS_AUTH="basic"), args)
    pairs = itertools.pairwise(command)
    assert [value for option, value in pairs if option == "--allow-websocket-origin"] == origins


def test_without_a_login_only_loopback(tmp_path):
    with pytest.raises(ValueError, match="set ENMS_AUTH"):
        supervise.server_command(settings_of(tmp_path), ["--address", "0.0.0.0"])


def test_who_vouches_must_be_said():
    settings = Settings.from_env({"ENMS_AUTH": "oauth"})
    with pytest.raises(ValueError, match="--oauth-provider"):
        supervise.server_command(settings, ["--address", "0.0.0.0"])
    assert supervise.server_command(settings, ["--oauth-provider=x"])[-1] == "--oauth-provider=x"


def test_somebody_must_be_able_to_log_in(tmp_path):
    settings = settings_of(tmp_path, ENMS_AUTH="basic")
    with pytest.raises(SystemExit, match="enms user add NAME --role admin"):
        supervise.run(settings, [])
    server = supervise.plant_parts(settings)[-1]
    assert server.environment["PANEL_BASIC_AUTH"]
    assert "--basic-login-template" in server.command
    own = supervise.plant_parts(settings, ["--basic-auth", "users.json"])[-1]
    assert "PANEL_BASIC_AUTH" not in own.environment
