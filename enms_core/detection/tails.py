"""How surprising a statistic is: tail probabilities learned from its own past.

Neighbouring values of a smoothed statistic exceed a level together, in clusters, and a cluster is
one alarm. So what is counted are the maxima of groups of readings, and the probability of one
reading follows from 1 - (1 - p)^size (the extremal index: Leadbetter, Z. Wahrscheinlichkeitsth. 65,
1983). Inside, the probability is the share of maxima seen beyond (conformal); beyond the largest
3 % a generalised Pareto continues it, fitted by its first two moments (Hosking and Wallis,
Technometrics 29, 1987) and held close to a common shape while few are seen.
"""

from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CELLS, CELLS_PER_E = 72, 8  # histogram cells are even in log(1 + size)
EDGES: Floats = np.expm1(np.arange(CELLS + 1) / CELLS_PER_E)
ALL = np.arange(CELLS + 1)
CENTRES = 0.5 * (EDGES[1:] + EDGES[:-1])
TAIL = 1 / 32  # the share of readings, on each side, that the fitted tail begins with
SHAPE, SHAPE_WEIGHT, LARGEST_SHAPE = 0.2, 8.0, 0.5  # a common shape weighs so many maxima
PRIOR = 10.0  # maxima of double-exponential noise of unit deviation, imagined at the start
REFIT = 0.985  # tails are fitted anew when less than this share of the old is remembered
LEARNED = 5.0  # what is more surprising is learned as just that: one fault is not the new normal
HIGHEST = 20.0  # surprises end here
TINY = 1e-300


class Tails:
    """Tail probabilities of several statistics, one row each.

    `groups` holds how many readings each row takes the maximum of, `handicap` by how many decades
    its surprise is lessened: the price of looking at many statistics at once, paid by the ones that
    are seldom the first to see a fault (weighted Bonferroni: Genovese, Roeder and Wasserman,
    Biometrika 93, 2006).

    >>> tails = Tails(groups=[1], handicap=[0.0])
    >>> tails.learn([np.random.default_rng(1).exponential(size=100_000)], keep=0.9)
    >>> np.interp([1.0, 5.0, 9.0], EDGES, tails.table[0]).round(1).tolist()
    [0.1, 1.9, 3.6]
    """

    def __init__(self, groups: "npt.ArrayLike", handicap: "npt.ArrayLike") -> None:
        self.groups = np.asarray(groups, dtype=float)
        self.handicap = np.asarray(handicap, dtype=float)
        self.counts, self.kept = self._prior(), 1.0
        self.fresh = np.zeros_like(self.counts)  # since the tails were fitted
        self.rebuild()

    def learn(self, maxima: list[Floats], keep: float) -> None:
        """Forget all but the share `keep` of what was counted, then count these, row by row."""
        rows = np.repeat(np.arange(len(maxima)), [len(sizes) for sizes in maxima])
        cells = np.log1p(np.concatenate(maxima)) * CELLS_PER_E
        at = rows * CELLS + np.minimum(cells, self._last[rows]).astype(np.intp)
        self.kept *= keep
        self.fresh *= keep
        self.fresh += np.bincount(at, minlength=self.counts.size).reshape(self.counts.shape)
        if self.kept < REFIT:
            self.refit()

    def refit(self) -> None:
        """Fit the tails to all that was counted."""
        self.counts *= self.kept
        self.counts += self.fresh
        self.fresh[:], self.kept = 0.0, 1.0
        self.rebuild()

    def weigh(self, most: float) -> None:
        """Let what was counted weigh as much as so many maxima at most, row by row."""
        self.refit()
        self.counts *= np.minimum(1.0, most / self.counts.sum(axis=1, keepdims=True))
        self.rebuild()

    def forget(self, rows: slice) -> None:
        """Begin anew with these rows."""
        self.refit()
        self.counts[rows] = self._prior()[rows]
        self.rebuild()

    def rebuild(self) -> None:
        """Compute `table`: the surprise of every row at each of EDGES."""
        maxima = _beyond(self.counts, 1.0 - (1.0 - TAIL) ** self.groups)
        share = -np.expm1(np.log1p(-np.minimum(maxima, 1.0 - 1e-12)) / self.groups[:, None])
        surprise = -np.log10(2.0 * np.maximum(share, TINY))
        self._last = np.minimum(np.maximum((surprise < LEARNED).sum(axis=1), 1), CELLS - 1)
        surprise -= self.handicap[:, None]
        self.table = np.minimum(np.maximum(surprise, 0.0), HIGHEST)

    def sizes_at(self, surprise: float) -> Floats:
        """Return for every row the size that is so surprising."""
        above = np.minimum(np.maximum((self.table < surprise).sum(axis=1), 1), CELLS)
        rows = np.arange(len(above))
        low, high = self.table[rows, above - 1], self.table[rows, above]
        part = np.minimum(np.maximum((surprise - low) / np.maximum(high - low, TINY), 0.0), 1.0)
        sizes: Floats = EDGES[above - 1] + part * (EDGES[above] - EDGES[above - 1])
        return sizes

    def _prior(self) -> Floats:
        share = 0.5 * np.exp(-np.sqrt(2.0) * EDGES)
        maxima = 1.0 - (1.0 - share) ** self.groups[:, None]
        cells = maxima[:, :-1] - maxima[:, 1:]
        cells[:, 0] += 1.0 - maxima[:, 0]
        prior: Floats = PRIOR * cells
        return prior

    def to_dict(self) -> dict[str, Any]:
        """Return what was learned, for JSON."""
        fresh = np.flatnonzero(self.fresh).tolist()
        return {
            "counts": self.counts.tolist(),
            "kept": self.kept,
            "fresh": [fresh, self.fresh.ravel()[fresh].tolist()],
        }

    def read(self, state: dict[str, Any]) -> Self:
        """Take over what `to_dict` wrote."""
        self.counts = np.array(state["counts"])
        self.kept = state.get("kept", 1.0)
        at, counts = state.get("fresh", ((), ()))
        self.fresh.ravel()[np.array(at, dtype=np.intp)] = counts
        self.rebuild()
        return self


def _beyond(counts: Floats, tail: Floats) -> Floats:
    """Return the probability of a maximum beyond each of EDGES, by row."""
    seen = np.zeros((len(counts), CELLS + 1))
    np.cumsum(counts[:, ::-1], axis=1, out=seen[:, -2::-1])
    seen /= seen[:, :1].copy()
    start = np.minimum(np.maximum((seen <= tail[:, None]).argmax(axis=1), 1), CELLS - 2)
    share = np.maximum(seen[np.arange(len(counts)), start], tail / 20)
    in_tail = start[:, None] <= ALL
    shape, scale = _pareto(counts * in_tail[:, :-1], EDGES[start], EDGES[start + 1])
    excess = np.maximum(EDGES - EDGES[start][:, None], 0.0)
    decay = np.log1p((shape / scale)[:, None] * excess) / -shape[:, None]
    return np.where(in_tail, share[:, None] * np.exp(decay), seen)


def _pareto(counts: Floats, start: Floats, following: Floats) -> tuple[Floats, Floats]:
    """Return shape and scale of a generalised Pareto, by row, from counts beyond `start`."""
    excess = CENTRES - start[:, None]
    mass = np.maximum(counts.sum(axis=1), TINY)
    first = counts * excess
    mean = first.sum(axis=1) / mass
    variance = (first * excess).sum(axis=1) / mass - mean**2
    own = 0.5 * (1.0 - mean**2 / np.maximum(variance, TINY))
    shape = (mass * own + SHAPE_WEIGHT * SHAPE) / (mass + SHAPE_WEIGHT)
    shape = np.minimum(np.maximum(shape, 1e-3), LARGEST_SHAPE)
    return shape, np.maximum(mean * (1.0 - shape), following - start)
