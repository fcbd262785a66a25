import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import redis

from enms_core import broker
from enms_core.broker import Broker, BrokerUnavailable
from enms_core.settings import Settings

ROOT = Path(__file__).parents[2]
RUN = """
import logging, sys
from enms_core import broker, settings
logging.basicConfig(level="INFO", stream=sys.stdout)
broker.run(settings.Settings.from_env())
"""
SHARE = """
import sys
from enms_core import broker, settings
print(broker.ensure(settings.Settings.from_env()).pid, flush=True)
sys.stdin.read()
"""


def settings_of(home, **more):
    return Settings.from_env({"ENMS_HOME": str(home), **more})


@pytest.fixture
def site(tmp_path):
    settings = settings_of(tmp_path / "home")
    yield settings
    broker.stop(settings)


@pytest.fixture
def spawn(site):
    """Start Python code in a process of its own, with the settings of the site."""
    started = []

    def start(code):
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, **site.environment(), "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def client(found):
    return redis.Redis.from_url(found.url, socket_timeout=2)


def eventually(check, seconds=60.0):  # a guard against hanging, no figure
    end = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.02)
    return value


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def on_valkey(monkeypatch):
    """Take the binary of the package, whatever is on the PATH."""
    monkeypatch.setattr(shutil, "which", lambda _: None)


def test_a_configured_redis_is_never_started(tmp_path):
    url = "redis://example.invalid:6379"
    settings = settings_of(tmp_path / "home", ENMS_REDIS_URL=url)
    assert broker.ensure(settings) == Broker(url, "configured", None)
    assert not (tmp_path / "home").exists()


def test_nothing_runs_at_first(site):
    assert broker.locate(site) is None
    assert not site.home.exists()


def test_starts_shares_and_stops(site):
    started = broker.ensure(site)
    assert started == broker.locate(site) == broker.ensure(site)
    assert psutil.pid_exists(started.pid)
    with client(started) as connection:
        assert connection.info("server")["process_id"] == started.pid
        wanted = {"appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory": "0"}
        assert {name: connection.config_get(name)[name] for name in wanted} == wanted
    broker.stop(site)
    assert not psutil.pid_exists(started.pid)
    assert broker.locate(site) is None


def test_only_the_owner_can_read(site):
    broker.ensure(site)
    folder = site.home / "broker"
    assert {mode(site.home), mode(folder), mode(folder / "redis.sock")} == {0o700}
    assert {mode(folder / name) for name in ("lock", "server.conf", "broker.json")} == {0o600}


def test_data_and_url_survive_a_kill(site):
    first = broker.ensure(site)
    with client(first) as connection:
        connection.set("kept", "yes")
    os.kill(first.pid, signal.SIGKILL)
    eventually(lambda: broker.locate(site) is None)
    second = broker.ensure(site)
    assert second.url == first.url
    assert second.pid != first.pid
    with client(second) as connection:
        assert connection.get("kept") == b"yes"


def test_long_path_falls_back_to_loopback_with_a_password(tmp_path):
    site = settings_of(tmp_path / ("long" * 25))
    try:
        first = broker.ensure(site)
        assert first.url.startswith("redis://:")
        bare = f"redis://{first.url.split('@')[1]}"
        with redis.Redis.from_url(bare) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        assert first.url.split("@")[0][9:] not in " ".join(psutil.Process(first.pid).cmdline())
        broker.stop(site)
        assert broker.ensure(site).url == first.url, "the same address after a restart"
        broker.stop(site)
        port = int(first.url.rsplit(":", 1)[1])
        with socket.create_server(("127.0.0.1", port)):
            moved = broker.ensure(site)
        assert moved.url != first.url
        assert moved.url.split("@")[0] == first.url.split("@")[0], "the same password"
    finally:
        broker.stop(site)


def test_the_package_brings_a_server_and_data_is_kept_per_engine(site, monkeypatch):
    on_valkey(monkeypatch)
    started = broker.ensure(site)
    assert started.kind == "valkey"
    assert (site.home / "broker" / "valkey-9" / "appendonlydir").is_dir()


def test_an_old_redis_is_passed_over(tmp_path, monkeypatch):
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=6.0.16 sha=0'\n")
    old.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(old) if name == old.name else None)
    assert broker.find_binary().kind == "valkey"


def test_no_binary(site, monkeypatch):
    monkeypatch.setattr(broker, "_candidates", lambda: iter(["/nowhere/valkey-server"]))
    with pytest.raises(BrokerUnavailable, match=r"install one .* or set ENMS_REDIS_URL"):
        broker.ensure(site)


def test_a_server_that_ends_at_once_tells_why(site, tmp_path, monkeypatch):
    broken = tmp_path / "valkey-server"
    broken.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "Valkey server v=9.0.0" || echo "disk is full"\n'
    )
    broken.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _: str(broken))
    with pytest.raises(BrokerUnavailable, match="disk is full"):
        broker.ensure(site)


def test_a_home_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    site = settings_of(tmp_path / "file" / "home")
    assert broker.locate(site) is None
    with pytest.raises(BrokerUnavailable, match="ENMS_HOME"):
        broker.ensure(site)


@pytest.mark.parametrize("record", ["", "[]", "{}", "nonsense"])
def test_a_broken_record_is_nothing(site, record):
    (site.home / "broker").mkdir(parents=True)
    (site.home / "broker" / "broker.json").write_text(record)
    assert broker.locate(site) is None


def test_a_stale_record_with_a_reused_pid_and_a_stale_socket(site):
    folder = site.home / "broker"
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "redis.sock"))
    stale = Broker(f"unix://{folder / 'redis.sock'}", "valkey", os.getpid())
    (folder / "broker.json").write_text(json.dumps(vars(stale)))
    assert broker.locate(site) is None
    assert broker.ensure(site).pid != os.getpid()


def test_a_server_that_hangs_is_named(site, spawn, monkeypatch):
    holder = spawn(SHARE)
    pid = int(holder.stdout.readline())
    monkeypatch.setattr(broker, "PING_TIMEOUT_S", 0.1)
    monkeypatch.setattr(broker, "START_TIMEOUT_S", 0.3)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(BrokerUnavailable, match=f"pid {pid}"):
            broker.ensure(site)
    finally:
        os.kill(pid, signal.SIGCONT)
        holder.communicate()


def test_eight_at_once_share_one_and_who_started_stops_it(spawn, site):
    crowd = [spawn(SHARE) for _ in range(8)]
    pids = {int(process.stdout.readline()) for process in crowd}
    assert len(pids) == 1
    server = psutil.Process(pids.pop())
    starter = server.ppid()
    for process in (p for p in crowd if p.pid != starter):
        process.communicate()
    assert broker.locate(site).pid == server.pid
    next(p for p in crowd if p.pid == starter).communicate()
    assert broker.locate(site) is None


def test_interrupting_the_notebook_does_not_reach_the_server(site):
    started = broker.ensure(site)
    assert os.getpgid(started.pid) == started.pid


def test_run_becomes_the_server(site, spawn):
    supervised = spawn(RUN)
    found = eventually(lambda: broker.locate(site))
    assert found.pid == supervised.pid
    assert broker.ensure(site) == found
    supervised.terminate()
    assert supervised.wait(5) == 0


def test_run_takes_over_when_the_other_is_gone(site, spawn):
    first = broker.ensure(site)
    supervised = spawn(RUN)
    assert "waiting to take over" in supervised.stdout.readline()
    assert broker.locate(site) == first
    assert supervised.poll() is None
    broker.stop(site)
    taken = eventually(lambda: broker.locate(site))
    assert (taken.pid, taken.url) == (supervised.pid, first.url)


def test_run_ends_when_told_while_it_waits(site, spawn):
    broker.ensure(site)
    waiting = spawn(RUN)
    assert "waiting to take over" in waiting.stdout.readline()
    waiting.terminate()
    assert waiting.wait(5) == 0


def test_run_only_waits_with_a_configured_redis(tmp_path, spawn):
    waiting = spawn("import os; os.environ['ENMS_REDIS_URL'] = 'redis://example.invalid'; " + RUN)
    assert "using the configured Redis" in waiting.stdout.readline()
    waiting.terminate()
    assert waiting.wait(5) == 0
