from app.models.connection import Connection


def test_beats_count_up_and_keep_when_the_state_began():
    connection = Connection()
    first = connection.beat("live", None, None, 1_000)
    second = connection.beat("live", "1970-01-01T00:00:01.500000+00:00", 1.6, 2_000)
    assert first == {
        "n": 1,
        "state": "live",
        "since": 1_000,
        "lastEvent": None,
        "latency": None,
        "now": 1_000,
    }
    assert (second["n"], second["since"], second["lastEvent"]) == (2, 1_000, 1_500)
    assert second["latency"] == 2


def test_another_state_begins_now():
    connection = Connection()
    connection.beat("live", None, None, 1_000)
    assert connection.beat("degraded", None, None, 5_000)["since"] == 5_000
    assert connection.state == "degraded"
