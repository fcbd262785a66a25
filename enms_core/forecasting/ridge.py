"""A ridge regression of the hours ahead on the days before: a row per origin, a target per hour."""

# ruff: noqa: N803, N806 - X and Y are what scikit-learn calls them

from dataclasses import dataclass

import numpy as np

from enms_core.forecasting.wall import DAY, WEEK, Array, Ints, Wall, day_of_year, weekday

LOOKBACK = 4 * WEEK  # the oldest load that a forecast looks at
PROFILES = (1, 7)  # days ago whose 24 hours are seen
WEEKEND = (5, 6)  # follows the day before it in its own way
SEASON = 400 * DAY  # of load: from here on each date of the year was seen
LEAST_ORIGINS = 28  # days to learn from
YEAR = 365.25  # days
ALPHAS = np.logspace(-1, 4, 11)  # on standardised columns
TINY = 1e-9


@dataclass(frozen=True)
class Ridge:
    """What the regression says of the past, each day left out of its own fit, and of the future."""

    origins: Ints  # wall hours, a day apart
    actual: Array  # (origins, hours) kW
    past: Array  # (origins, hours) kW
    ahead: Array  # (hours,) kW


def ridge_ahead(wall: Wall, hours: int) -> Ridge:
    """Solve for the `hours` after the end of the load, from all origins at its hour of the day.

    Origins with an unmeasured target are left out. Every target has the penalty under which days
    left out are predicted best.
    """
    origins = origins_of(wall, hours)
    now = np.array([wall.now])
    level = level_before(wall, origins)[:, None]
    X, at = _columns(wall, origins), _columns(wall, now)
    center, spread = X.mean(axis=0), X.std(axis=0)
    spread = np.where(spread > TINY * (1 + np.abs(center)), spread, 1.0)
    actual = wall.at(_targets(origins, hours))
    left_out, ahead = _solve((X - center) / spread, actual - level, (at - center) / spread)
    return Ridge(origins, actual, left_out + level, ahead[0] + level_before(wall, now))


def origins_of(wall: Wall, hours: int) -> Ints:
    """Return the past origins, a day apart, whose next `hours` were all measured."""
    last = wall.now - DAY * -(-hours // DAY)
    origins = np.arange(last, wall.start + LOOKBACK - 1, -DAY)[::-1]
    known: Ints = origins[wall.knows(_targets(origins, hours)).all(axis=1)]
    return known


def is_enough(wall: Wall, hours: int) -> bool:
    """Return whether the regression can learn to look so many hours ahead."""
    return len(origins_of(wall, hours)) >= LEAST_ORIGINS


def level_before(wall: Wall, origins: Ints) -> Array:
    """Return the mean load of the two weeks before each origin (kW)."""
    level: Array = before(wall, origins, 2 * WEEK).mean(axis=1)
    return level


def before(wall: Wall, origins: Ints, hours: int) -> Array:
    """Return the load of the `hours` before each origin, oldest first (origins, hours)."""
    return wall.at(origins[:, None] + np.arange(-hours, 0))


def knows_season(wall: Wall) -> bool:
    """Return whether the load spans a year, so that no date ahead is a new one."""
    return len(wall.load) >= SEASON


def _targets(origins: Ints, hours: int) -> Ints:
    return origins[:, None] + np.arange(hours)


def _columns(wall: Wall, origins: Ints) -> Array:
    week = before(wall, origins, WEEK)
    level = level_before(wall, origins)[:, None]
    days = week.reshape(len(origins), 7, DAY)
    profiles = [days[:, -ago] - level for ago in PROFILES]
    weekend = np.isin(weekday(origins), WEEKEND)[:, None] * profiles[0]
    means = days.mean(axis=2) - level
    parts = [*profiles, weekend, means, level, np.eye(7)[weekday(origins)]]
    if knows_season(wall):
        parts.append(_season(origins))
    return np.hstack(parts)


def _season(origins: Ints) -> Array:
    angle = 2 * np.pi * day_of_year(origins) / YEAR
    return np.column_stack([np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle)])


def _solve(X: Array, Y: Array, at: Array) -> tuple[Array, Array]:
    """Return leave-one-out predictions of Y (n, targets), and predictions at other rows.

    With hat matrix H the prediction of a row left out is y - (y - Hy) / (1 - h), h its leverage.
    """
    mean = Y.mean(axis=0)
    U, s, Vt = np.linalg.svd(X, full_matrices=False)
    inner = U.T @ (Y - mean)
    shrinks = [s**2 / (s**2 + alpha) for alpha in ALPHAS]
    errors = np.array([_left_out(U, shrink, inner, Y - mean) for shrink in shrinks])
    best = (errors**2).mean(axis=1).argmin(axis=0)  # by target
    past = Y - np.take_along_axis(errors, best[None, None, :], axis=0)[0]
    shrink = np.array(shrinks)[best].T / np.maximum(s, TINY)[:, None]
    return past, at @ (Vt.T @ (shrink * inner)) + mean


def _left_out(U: Array, shrink: Array, inner: Array, Y: Array) -> Array:
    leverage = U**2 @ shrink + 1 / len(U)
    errors: Array = (Y - U @ (shrink[:, None] * inner)) / (1 - np.minimum(leverage, 0.99))[:, None]
    return errors
