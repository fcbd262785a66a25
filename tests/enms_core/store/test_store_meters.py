import itertools

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from enms_core.meters import QUARTER_US, SHORTEST_US, SPREAD_US, repaired
from enms_core.plant import REGISTER, REGISTER_POWER, Factory, Machine
from enms_core.store import Store, energy, machines, meters, readings, schema
from tests.plants import valid

START = 1_780_000_000_000_000 // QUARTER_US * QUARTER_US
SECOND = 1_000_000
RATED_KW = 60.0


def add(store, name, rated_kw=RATED_KW):
    with store.write() as connection:
        return machines.add(connection, Machine(name, rated_kw=rated_kw, factory=Factory("Works")))


def send(store, machine, sent):
    """Store registers and recompute what they touch, as the engine does."""
    rows = [(machine.name, REGISTER, int(at), float(value)) for at, value in sent]
    with store.write() as connection:
        readings.add(connection, valid(rows))
        meters.recompute(connection, machine, np.array([at for at, *_ in sent]))


def quarters(store, machine):
    with store.read() as connection:
        frame = energy.frame(connection, machine.id, 0, 2 * START)
    figures = zip(frame["energy_kwh"], frame["covered_s"], frame["spread_kwh"], strict=True)
    return dict(zip(frame["start"].tolist(), figures, strict=True))


def powers(store, machine):
    with store.read() as connection:
        wide = readings.frame(connection, machine.id, 0, 2 * START, [REGISTER_POWER])
    return wide.get(REGISTER_POWER)


def repairs(store, machine):
    with store.read() as connection:
        return meters.repairs(connection, machine.id, 0, 2 * START)


def whole(store, machine):
    """Return all that follows from the registers, but for the time at which it was repaired."""
    power = powers(store, machine)
    return (
        quarters(store, machine),
        {} if power is None else power.dropna().to_dict(),
        repairs(store, machine).drop(columns="repaired_at").to_dict("records"),
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Open one store for all examples: each has machines of its own."""
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('meters') / 'enms.db'}").migrate()
    yield store
    store.dispose()


# What a meter does from one reading to the next: seconds, and what it uses or what happens to it.
steps = st.tuples(
    st.sampled_from([5, 60, 600, 900, 901, 3600, 7200, 7201, 90_000]),
    st.one_of(
        st.floats(0, 10).map(lambda kwh: ("use", round(kwh, 2))),
        st.sampled_from([("swap", 0.0), ("swap", 3.0), ("swap", 48_211.0), ("dip", 0.1)]),
    ),
)
courses = st.tuples(
    st.sampled_from([0.0, 12.0, 9_990.0, 99_999.5]), st.lists(steps, min_size=1, max_size=25)
)


def course(first, moves):
    at, shown = START + 17 * SECOND, first
    sent = [(at, shown)]
    for seconds, (what, amount) in moves:
        at += seconds * SECOND
        shown = {"use": shown + amount, "swap": amount, "dip": max(shown - amount, 0.0)}[what]
        if shown >= 100_000:  # five digits
            shown -= 100_000
        sent.append((at, round(shown, 2)))
    return sent


numbers = itertools.count()


@settings(max_examples=60, deadline=None)
@given(courses, st.randoms(use_true_random=False), st.sampled_from([None, RATED_KW]))
def test_any_order_of_arrival_gives_the_difference_and_the_repairs(shared, made, chance, rated_kw):
    sent = course(*made)
    one, other = (add(shared, f"M{next(numbers)}", rated_kw) for _ in range(2))
    send(shared, one, sent)
    mixed = sent.copy()
    chance.shuffle(mixed)
    while mixed:
        size = chance.choice([1, 2, 7])
        send(shared, other, mixed[:size])
        mixed = mixed[size:]
    found, power, mended = whole(shared, other)
    expected = whole(shared, one)
    assert found.keys() == expected[0].keys()
    for start, figures in found.items():
        assert figures == pytest.approx(expected[0][start], abs=1e-6)
    assert power == expected[1]
    assert mended == expected[2]
    corrections = sum(r["energy_kwh"] - (r["after"] - r["before"]) for r in mended)
    total = sum(kwh for kwh, *_ in found.values())
    assert total == pytest.approx(sent[-1][1] - sent[0][1] + corrections, abs=1e-6)
    assert all(0 <= covered <= 900 + 1e-6 for _, covered, _ in found.values())


@settings(max_examples=40, deadline=None)
@given(courses)
def test_powers_are_the_energy_between_the_first_registers_of_quarters(shared, made):
    sent = course(*made)
    machine = add(shared, f"M{next(numbers)}")
    send(shared, machine, sent)
    number = [at // QUARTER_US for at, _ in sent]
    firsts = [i for i, n in enumerate(number) if not i or n > number[i - 1]]
    slow = {}
    for i, j in itertools.pairwise(firsts):
        told = [repaired(sent[k][1], sent[k + 1][1], (sent[k + 1][0] - sent[k][0]) / 1e6, RATED_KW)
                for k in range(i, j)]  # fmt: skip
        span = sent[j][0] - sent[i][0]
        if SHORTEST_US <= span <= SPREAD_US and all(kind != "reset" for kind, _ in told):
            slow[sent[i][0]] = sum(kwh for _, kwh in told) / (span / 3.6e9)
    power = powers(shared, machine)
    found = {} if power is None else {int(at.value // 1000): v for at, v in power.items()}
    assert found == pytest.approx(slow)


def test_a_repair_is_kept_once_however_often_it_is_found(store):
    machine = add(store, "Meter")
    sent = [(START + n * QUARTER_US, 5_000.0 + 10 * n) for n in range(4)]
    sent += [(START + n * QUARTER_US, 2.0 + 10 * (n - 4)) for n in range(4, 8)]
    send(store, machine, sent)
    first = repairs(store, machine)
    send(store, machine, sent)
    with store.write() as connection:
        meters.recompute(connection, machine, np.array([at for at, _ in sent[3:5]]))
    again = repairs(store, machine)
    assert again.to_dict("records") == first.to_dict("records")
    [row] = again.to_dict("records")
    assert (row["kind"], row["before"], row["after"]) == ("reset", 5_030.0, 2.0)
    assert row["energy_kwh"] == 2.0
    found = quarters(store, machine)
    assert sum(kwh for kwh, *_ in found.values()) == pytest.approx(62.0)
    assert found[START + 3 * QUARTER_US] == (2.0, 0.0, 2.0)  # how much, not when


def test_a_late_register_changes_a_repair(store):
    """A register between two that are known: what was counted over both is counted over one."""
    machine = add(store, "Meter")
    send(store, machine, [(START, 99_990.0), (START + 2 * QUARTER_US, 40.0)])
    assert repairs(store, machine)["kind"].tolist() == ["rollover"]
    send(store, machine, [(START + QUARTER_US, 99_999.0)])
    [row] = repairs(store, machine).to_dict("records")
    assert (row["kind"], row["before"], row["energy_kwh"]) == ("rollover", 99_999.0, 41.0)
    assert [kwh for kwh, *_ in quarters(store, machine).values()] == pytest.approx([9.0, 41.0])


def test_a_long_gap_is_energy_that_covers_nothing(store):
    machine = add(store, "Meter")
    late = START + SPREAD_US + QUARTER_US
    send(store, machine, [(START, 0.0), (late, 90.0), (late + QUARTER_US, 100.0)])
    found = quarters(store, machine)
    assert [found[start] for start in sorted(found)] == [
        *[(pytest.approx(10.0), 0.0, pytest.approx(10.0))] * 9,
        (pytest.approx(10.0), 900.0, 0.0),
    ]
    assert powers(store, machine).tolist() == [40.0]


def test_a_register_that_only_stands_there_is_no_energy(store):
    machine = add(store, "Meter")
    send(store, machine, [(START, 100.0)])
    assert whole(store, machine) == ({}, {}, [])
    with store.read() as connection:
        assert set(connection.execute(sa.select(schema.series.c.metric)).scalars()) == {REGISTER}


def test_a_clock_that_was_not_set_makes_no_energy_of_decades(store):
    machine = add(store, "Meter")
    send(store, machine, [(START, 100.0), (START + QUARTER_US, 110.0)])
    send(store, machine, [(0, 50.0)])
    [row] = repairs(store, machine).to_dict("records")
    assert (row["kind"], row["energy_kwh"], row["before"]) == ("gap", 0.0, 50.0)
    assert quarters(store, machine) == {START: (pytest.approx(10.0), 900.0, 0.0)}
    backwards = add(store, "Other")
    send(store, backwards, [(0, 50.0), (START, 100.0), (START + QUARTER_US, 110.0)])
    assert quarters(store, backwards) == quarters(store, machine)
