import random
from itertools import pairwise

import numpy as np
import pytest

from enms_core.store import energy, readings
from enms_core.store.energy import HOLD_US, QUARTER_US, integrate
from tests.plants import valid

SECOND = 1_000_000
DAY_US = 86_400 * SECOND
START = 20_000 * DAY_US  # 2024-10-04 00:00 UTC


def by_seconds(times, values, first, last):
    """The obvious way: for every second, the value that stands then."""
    kwh = np.zeros((last - first) // QUARTER_US)
    covered = np.zeros_like(kwh)
    if not times:
        return kwh, covered
    gaps = [b - a for a, b in pairwise(times)]
    usual = usual_gaps(gaps) if gaps else [60 * SECOND]
    hold = [min(g, 3 * u, HOLD_US) for g, u in zip(gaps, usual[:-1], strict=True)]
    hold.append(min(usual[-1], HOLD_US))
    for at in range(first, last, SECOND):
        for time, value, stands in zip(times, values, hold, strict=True):
            if time <= at < time + stands:
                kwh[(at - first) // QUARTER_US] += value / 3600
                covered[(at - first) // QUARTER_US] += 1
    return kwh, covered


def usual_gaps(gaps):
    """For every reading the median of the five gaps around it."""
    padded = [gaps[0]] * 2 + gaps + [gaps[-1]] * 3
    return [sorted(padded[i : i + 5])[2] for i in range(len(gaps) + 1)]


def quarter_by_seconds(sent, start):
    """What a quarter follows from: the readings within an hour of it."""
    near = sorted((t, v) for t, v in sent if start - HOLD_US <= t < start + QUARTER_US + HOLD_US)
    times, values = [t for t, _ in near], [v for _, v in near]
    kwh, covered = by_seconds(times, values, start, start + QUARTER_US)
    return kwh[0], covered[0]


def some(chance, hours, steps):
    """Readings at steps of so many seconds, a value each."""
    at, made = START, []
    while at < START + hours * 3600 * SECOND:
        made.append((at, round(chance.uniform(0, 90), 1)))
        at += chance.choice(steps) * SECOND
    return made


@pytest.mark.parametrize("seed", range(6))
def test_integrate_is_the_sum_over_seconds(seed):
    chance = random.Random(seed)
    steps = [[60], [5, 5, 5, 7], [60, 60, 61, 400], [900], [600, 4000], [30, 3000]][seed]
    made = some(chance, 2, steps)
    times, values = [t for t, _ in made], [v for _, v in made]
    for first, last in ((0, 2), (2, 5), (-4, 12)):
        span = START + first * QUARTER_US, START + last * QUARTER_US
        kwh, covered = integrate(np.array(times), np.array(values), *span)
        slow_kwh, slow_covered = by_seconds(times, values, *span)
        np.testing.assert_allclose(kwh, slow_kwh, atol=1e-6)
        np.testing.assert_allclose(covered, slow_covered, atol=1e-3)


def test_integrate_nothing():
    kwh, covered = integrate(np.array([], dtype=int), np.array([]), 0, 4 * QUARTER_US)
    assert kwh.tolist() == covered.tolist() == [0.0] * 4


def send(store, machine, sent, metric="power_kw"):
    """Store readings and recompute what they touch, as the engine does."""
    times = [t for t, _ in sent]
    rows = [(machine.name, metric, int(at), float(value)) for at, value in sent]
    with store.write() as connection:
        readings.add(connection, valid(rows))
        energy.recompute(connection, machine.id, metric, np.array(times))


def kept(store, machine):
    with store.read() as connection:
        frame = energy.frame(connection, machine.id, 0, 2 * START)
    return {int(row.start): (row.energy_kwh, row.covered_s) for row in frame.itertuples()}


def same(one, other):
    assert one.keys() == other.keys()
    for start, pair in one.items():
        assert pair == pytest.approx(other[start], abs=1e-6)


def test_the_energy_kept_is_the_sum_over_seconds(store, plant):
    sent = some(random.Random(1), 3, [60, 60, 60, 60, 200, 1200])
    send(store, plant["Pump"], sent)
    found = kept(store, plant["Pump"])
    for number in range(-5, 18):
        start = START + number * QUARTER_US
        kwh, covered = quarter_by_seconds(sent, start)
        assert found.get(start, (0.0, 0.0)) == pytest.approx((kwh, covered), abs=1e-3)
    assert all(covered > 0 for _, covered in found.values())


@pytest.mark.parametrize("steps", [[60], [5], [60, 240], [600, 900], [20, 20, 3000], [3600]])
def test_any_order_of_arrival_gives_the_same_energy(store, plant, steps):
    chance = random.Random(2)
    sent = some(chance, 5 if max(steps) > 60 else 1, steps)
    send(store, plant["Pump"], sent)
    mixed = sent.copy()
    chance.shuffle(mixed)
    while mixed:
        size = chance.choice([1, 2, 10, 200])
        send(store, plant["Press"], mixed[:size])
        mixed = mixed[size:]
    same(kept(store, plant["Pump"]), kept(store, plant["Press"]))


def test_one_by_one_is_as_good_as_all_at_once(store, plant):
    sent = some(random.Random(3), 1, [60, 60, 180])
    send(store, plant["Pump"], sent)
    for one in sent:
        send(store, plant["Press"], [one])
    same(kept(store, plant["Pump"]), kept(store, plant["Press"]))


def test_a_change_of_the_interval(store, plant):
    """History by the minute, then live every five seconds, with a gap between."""
    minutes = [(START + n * 60 * SECOND, 30.0) for n in range(60)]
    seconds = [(START + (3700 + 5 * n) * SECOND, 60.0) for n in range(100)]
    send(store, plant["Pump"], minutes + seconds)
    send(store, plant["Press"], seconds)
    send(store, plant["Press"], minutes)
    same(kept(store, plant["Pump"]), kept(store, plant["Press"]))


def test_the_energy_of_an_hour_of_a_constant_load(store, plant):
    send(store, plant["Pump"], [(START + n * 60 * SECOND, 60.0) for n in range(60)])
    with store.read() as connection:
        assert energy.totals(connection, START) == {plant["Pump"].id: pytest.approx(60.0)}
        half = energy.totals(connection, START, START + 2 * QUARTER_US)
    assert half == {plant["Pump"].id: pytest.approx(30.0)}


def test_energy_readings_are_counted_where_they_start(store, plant):
    sent = [(START + n * QUARTER_US, float(n)) for n in range(8)]
    random.Random(4).shuffle(sent)
    for one in sent:
        send(store, plant["Pump"], [one], "energy_kwh")
    assert kept(store, plant["Pump"]) == {t: (v, 900.0) for t, v in sorted(sent)}


def test_the_largest_values_stay_finite(store, plant):
    send(store, plant["Pump"], [(START + n * SECOND, 1e15) for n in range(1000)])
    assert all(np.isfinite(pair).all() for pair in kept(store, plant["Pump"]).values())


def test_seconds_after_minutes_do_not_shorten_the_minutes():
    """A history at 60 s goes on live at 5 s: every quarter is covered whole."""
    history = np.arange(0, 2 * QUARTER_US, 60 * SECOND)
    live = np.arange(2 * QUARTER_US, 4 * QUARTER_US, 5 * SECOND)
    times = np.concatenate([history, live])
    kwh, covered = integrate(times, np.full(len(times), 40.0), 0, 4 * QUARTER_US)
    assert covered.tolist() == [900.0] * 4
    np.testing.assert_allclose(kwh, 10.0)


def test_a_gap_stays_one_at_either_pace():
    gap = 3_600 * SECOND
    slow = np.arange(0, 600, 60) * SECOND
    fast = slow[-1] + gap + np.arange(0, 60, 5) * SECOND
    _, covered = integrate(np.concatenate([slow, fast]), np.ones(22), 0, 8 * QUARTER_US)
    assert covered.sum() == 9 * 60 + 180 + 60
