"""How far energy strays from what is expected, by slot of the week."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]  # of floats
Ints = npt.NDArray[np.int64]
CONFIDENCE = (0.025, 0.975)
PRIOR_ROWS = 4  # of the mean over all slots, mixed into each
NORMAL = 1.2533  # standard deviation over mean absolute deviation


def slot_scale(residual: Array, slot: Ints, slots: int) -> Array:
    """Return a standard deviation by slot: the mean absolute residual, shrunk to that of all."""
    size = np.abs(residual)
    overall = max(float(size.mean()), 1e-9)
    count = np.bincount(slot, minlength=slots)
    mean = np.bincount(slot, size, slots) / np.maximum(count, 1)
    near = np.minimum(size, 4 * mean[slot])  # one wild row does not widen its slot
    total = np.bincount(slot, near, slots) + PRIOR_ROWS * overall
    scale: Array = NORMAL * total / (count + PRIOR_ROWS)
    return scale


def band(residual: Array, scale: Array) -> Array:
    """Return the quantiles of residuals, as multiples of their scale, that hold 95 % of them."""
    quantiles: Array = np.quantile(residual / scale, CONFIDENCE)
    return quantiles
