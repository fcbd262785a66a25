"""How the sensors of a machine follow each other: each predicted from all the others.

Ridge regression (Hoerl and Kennard, Technometrics 12, 1970) of every sensor on the rest. All of
them come from one inverse: the coefficients of sensor j are -P[i, j] / P[j, j] where P is the
inverse of the ridged correlations (Lauritzen, Graphical Models, 1996, 5.1.3). How much to shrink is
chosen for each sensor by the error on held-out stretches of time; most means that nothing predicts
it.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from enms_core.detection.sensors import CLIP, STRETCHES, Array, usual

WORST = 2.0  # times its usual error: so badly predicted for want of others, none is judged
ALPHAS = (0.01, 0.1, 1.0, 10.0, 100.0)  # of the variance of a sensor


@dataclass(frozen=True)
class Relations:
    """Centre and scale (sensors,), correlations (sensors, sensors), ridge and error (sensors,).

    The error is the standard deviation of what is left, predicted from what is mostly there.
    """

    centre: Array
    scale: Array
    correlations: Array
    ridge: Array
    error: Array

    @classmethod
    def learn(cls, values: Array) -> tuple[Self, Array]:
        """Learn from `values` (rows, sensors); NaN is missing, no column constant.

        Returns the relations, and the residuals of each row by what the other stretches taught.

        >>> flow = np.sin(np.arange(200.0))
        >>> relations, held_out = Relations.learn(np.column_stack([flow, 3 * flow + 10]))
        >>> bool(np.abs(held_out).max() < 0.1)
        True
        >>> bool(np.abs(relations.residuals(np.array([[0.9, 7.3]]))).min() > 2)  # each normal
        True
        """
        centre, scale = usual(values)
        scaled = (values - centre) / scale
        held_out = [_held_out(scaled, alpha) for alpha in ALPHAS]
        losses = [np.nanmean(np.clip(left, -CLIP, CLIP) ** 2, axis=0) for left in held_out]
        best = np.argmin(losses, axis=0)
        left = np.stack(held_out)[best, :, np.arange(len(best))].T
        correlations, ridge = _correlations(scaled), np.array(ALPHAS)[best]
        errors = np.where(np.isfinite(scaled), _predict(scaled, correlations, ridge)[1], np.nan)
        error = np.nanmedian(errors, axis=0)
        return cls(centre, scale, correlations, ridge, error), _judged(left, errors / error)

    def residuals(self, values: Array) -> Array:
        """Return what is left of `values` (rows, sensors) after prediction, in scales of a sensor.

        A missing value is NaN, and the others are predicted without it, their residuals divided by
        how much larger the error then is; NaN, too, where it is more than `WORST` times as large.
        """
        scaled = (values - self.centre) / self.scale
        left, errors = _predict(scaled, self.correlations, self.ridge)
        return _judged(left, errors / self.error)


def _held_out(scaled: Array, alpha: float) -> Array:
    """Return what is left of each stretch after prediction by what the others taught."""
    out = np.empty_like(scaled)
    for rows in np.array_split(np.arange(len(scaled)), STRETCHES):
        taught = _correlations(np.delete(scaled, rows, axis=0))
        out[rows] = _predict(scaled[rows], taught, np.full(scaled.shape[1], alpha))[0]
    return out


def _correlations(scaled: Array) -> Array:
    """Return second moments over the rows both have, made positive semidefinite."""
    inputs, known = _inputs(scaled), np.isfinite(scaled).astype(float)
    moments = inputs.T @ inputs / np.maximum(known.T @ known, 1.0)
    values, vectors = np.linalg.eigh(moments)
    return np.asarray((vectors * np.maximum(values, 0.0)) @ vectors.T)


def _predict(scaled: Array, correlations: Array, ridge: Array) -> tuple[Array, Array]:
    """Return what is left of each value, and the error to expect of it (both rows, sensors).

    The rows of each pattern of missing sensors have coefficients of their own.
    """
    left, errors = np.empty_like(scaled), np.empty_like(scaled)
    patterns, which = np.unique(np.isfinite(scaled), axis=0, return_inverse=True)
    for i, known in enumerate(patterns):
        rows = which.reshape(-1) == i
        coefficients = _coefficients(correlations * np.outer(known, known), ridge)
        left[rows] = scaled[rows] - _inputs(scaled[rows]) @ coefficients
        errors[rows] = _error(correlations, coefficients)
    return left, errors


def _error(correlations: Array, coefficients: Array) -> Array:
    """Return the standard deviation of what is left of each target (targets,)."""
    left = np.eye(len(correlations)) - coefficients
    return np.asarray(np.sqrt(np.maximum(((correlations @ left) * left).sum(axis=0), 1e-12)))


def _judged(left: Array, growth: Array) -> Array:
    return np.where(growth <= WORST, left / growth, np.nan)


def _inputs(scaled: Array) -> Array:
    """Return what predicts: clipped, as a relation is only known where it was learned."""
    return np.asarray(np.clip(np.nan_to_num(scaled, nan=0.0), -CLIP, CLIP))


def _coefficients(correlations: Array, ridge: Array) -> Array:
    """Return (inputs, targets), zero on the diagonal."""
    out = np.zeros_like(correlations)
    for alpha in np.unique(ridge):
        inverse = np.linalg.inv(correlations + alpha * np.eye(len(ridge)))
        out[:, ridge == alpha] = (-inverse / np.diag(inverse))[:, ridge == alpha]
    np.fill_diagonal(out, 0.0)
    return out
