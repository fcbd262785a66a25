import pytest
from hypothesis import given
from hypothesis import strategies as st

from enms_core.detection import persistence, severe_from, severity
from enms_core.detection.consequence import SEVERITIES
from enms_core.plant import CRITICALITIES, Factory, Machine

HOUR = 3600.0
seconds = st.floats(0.0, 1e9)
money = st.floats(1e-3, 1e6)
kilowatts = st.floats(-1e6, 1e6)


def ranks(deltas, levels):
    return [SEVERITIES.index(severity(delta, levels)) for delta in deltas]


@given(seconds, seconds)
def test_what_lasts_longer_weighs_more_and_never_more_than_the_hour(one, other):
    shares = [persistence(s) for s in sorted((one, other))]
    assert 0.0 < shares[0] <= shares[1] <= 1.0 + 1e-9


def test_one_reading_weighs_a_third_of_what_stays():
    assert persistence(0.0) == persistence(-5.0) == pytest.approx(1 / 3, abs=0.02)
    assert persistence(HOUR) > 2 * persistence(0.0)
    assert persistence(100 * HOUR) > 0.99


def test_the_share_is_the_mean_of_the_survival_over_the_hour():
    """A slow, obvious version: sum the probability that it goes on for every second."""
    for age in (0.0, 300.0, 7200.0):
        alive = [(age + 600.0) / (age + 600.0 + u + 0.5) for u in range(3600)]
        assert persistence(age) == pytest.approx(sum(alive) / 3600.0, rel=1e-6)


@given(kilowatts, kilowatts, money, money)
def test_more_is_never_less_severe(one, other, first, second):
    levels = tuple(sorted((first, second)))
    low, high = sorted((one, other), key=abs)
    assert ranks([abs(low)], levels) <= ranks([abs(high)], levels)
    assert ranks([-abs(low)], levels) <= ranks([-abs(high)], levels)


@given(kilowatts, money)
def test_too_little_is_at_most_a_warning_and_never_worse_than_too_much(delta, warning):
    low, high = ranks([-abs(delta), abs(delta)], (warning, 4.0 * warning))
    assert low <= min(high, 1)


@given(money, st.floats(0.0, 1e4))
def test_a_machine_that_matters_more_is_severe_from_less_on(price, kw):
    site = Factory("Works", price_per_kwh=price)
    found = [
        ranks([kw], severe_from(Machine("M", factory=site, criticality=c)))[0]
        for c in CRITICALITIES
    ]
    assert found == sorted(found, reverse=True)


@given(money, money, st.floats(1.0, 100.0))
def test_by_default_the_price_does_not_matter_and_by_threshold_it_does(cheap, dear, ratio):
    for price in (cheap, dear):
        machine = Machine("M", factory=Factory("Works", price_per_kwh=price))
        assert severe_from(machine) == pytest.approx((5.0, 20.0))
    limits = {"warning_per_hour": 1e-3, "critical_per_hour": 1e-3 * ratio}
    low, high = sorted((cheap, dear))
    kw = [severe_from(Machine("M", factory=Factory("W", price_per_kwh=p, **limits)))
          for p in (low, high)]  # fmt: skip
    assert kw[0][0] >= kw[1][0]
    assert kw[0][1] / kw[0][0] == pytest.approx(ratio)


@pytest.mark.parametrize("price", [0.0, -0.1])
def test_without_a_price_power_decides(price):
    site = Factory("Works", price_per_kwh=price, warning_per_hour=1.0, critical_per_hour=2.0)
    machine = Machine("M", rated_kw=None, factory=site, criticality="C")
    assert severe_from(machine) == (10.0, 40.0)
    assert severity(25.0, severe_from(machine)) == "warning"
