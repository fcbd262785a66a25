import dataclasses

import pytest

from enms_core.plant import (
    CRITICALITIES,
    ENERGY_METRICS,
    MACHINE_TYPES,
    UNITS,
    Factory,
    Machine,
    Metric,
    zone,
)


@pytest.mark.parametrize("suffix", sorted(UNITS))
def test_every_unit_makes_a_metric(suffix):
    assert Metric(f"some_quantity_{suffix}").unit == UNITS[suffix]


def test_the_metrics_that_carry_energy_are_metrics():
    assert [Metric(name).unit for name in ENERGY_METRICS] == ["kW", "kWh", "kW"]


@pytest.mark.parametrize(
    "name",
    [
        *["", "kw", "_kw", "power", "power_KW", "Power_kw", "power__kw", "power_kw ", " power_kw"],
        *["power_kw\n", "power-kw", "1power_kw", "power_furlong", "p\u043ewer_kw", "power_kw\0"],
        *["power_", "\ud800_kw", None, 1, 1.5, b"power_kw", ["power_kw"]],
    ],
)
def test_what_is_no_metric(name):
    with pytest.raises(ValueError, match="does not end in a known unit"):
        Metric(name)


@pytest.mark.parametrize("kind", MACHINE_TYPES)
def test_machine_types(kind):
    assert Machine("M", kind).type == kind


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "a\0b", None, 5])
@pytest.mark.parametrize("kind", [Machine, Factory])
def test_names(kind, name):
    with pytest.raises(ValueError, match="1 to 200 characters"):
        kind(name)


def test_odd_names_are_names():
    for name in ("x" * 200, "Ofen 3 <b>", "電動機", "a/b", "'; --"):
        assert Machine(name).name == name


@pytest.mark.parametrize("power", [0, -1, float("nan"), float("inf")])
def test_rated_power_is_positive(power):
    with pytest.raises(ValueError, match="rated power"):
        Machine("M", rated_kw=power)


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "Europe", "a\0b"])
def test_unknown_zones(name):
    with pytest.raises(ValueError, match="Europe/Berlin"):
        Factory("Works", timezone=name)


def test_a_machine_is_in_the_zone_of_its_site():
    assert Machine("M", factory=Factory("Works", "Asia/Seoul")).zone == zone("Asia/Seoul")


def test_they_are_values():
    assert Machine("M") == Machine("M")
    with pytest.raises(dataclasses.FrozenInstanceError):
        Machine("M").name = "N"


def test_a_machine_has_a_criticality():
    assert Machine("M").criticality == "B"
    assert [Machine("M", criticality=c).criticality for c in CRITICALITIES] == ["A", "B", "C"]
    with pytest.raises(
        ValueError, match="'a' of machine 'M' is unknown; it must be one of A, B, C"
    ):
        Machine("M", criticality="a")


@pytest.mark.parametrize("limit", [0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["warning_per_hour", "critical_per_hour"])
def test_thresholds_are_positive(name, limit):
    with pytest.raises(ValueError, match="must be positive"):
        Factory("F", **{name: limit})


def test_thresholds_follow_the_price_unless_given():
    assert Factory("F", currency="JPY", price_per_kwh=25.0).severe_from == (125.0, 500.0)
    assert Factory("F", price_per_kwh=0.0).severe_from == (0.0, 0.0)
    assert Factory("F", warning_per_hour=2.0, critical_per_hour=2.0).severe_from == (2.0, 2.0)
    with pytest.raises(ValueError, match=r"begins at 4 an hour, above critical at 3\.6"):
        Factory("F", warning_per_hour=4.0)
