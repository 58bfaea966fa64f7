"""Hierarchical labels such as ``neuron/RGC/alpha``: ancestors, and fallback to them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cellkin.space.arrays import BoolVector, Int32Vector

SEPARATOR = "/"


@dataclass(frozen=True)
class Hierarchy:
    """The ancestors of labels.

    Parameters
    ----------
    ancestors
        Paths of the ancestors, by depth and then by name; empty if no label is a path.
    below
        (n_ancestors, n_labels) bool, whether a label is the ancestor or below it.
    """

    ancestors: list[str]
    below: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, labels: list[str]) -> "Hierarchy":
        """Build the ancestors of labels from their paths."""
        found = {SEPARATOR.join(parts[:n]) for label in labels
                 for parts in [label.split(SEPARATOR)] for n in range(1, len(parts))}  # fmt: skip
        names = sorted(found, key=lambda name: (name.count(SEPARATOR), name))
        # A label that is itself an ancestor of others counts as below it.
        below = [
            [(label + SEPARATOR).startswith(name + SEPARATOR) for label in labels] for name in names
        ]
        return cls(names, np.array(below, bool).reshape(len(names), len(labels)))

    def fall_back(
        self,
        by_label: npt.NDArray[np.float64],
        where: BoolVector,
        least: float | npt.NDArray[np.float64],
    ) -> Int32Vector:
        """Return the deepest ancestor that is probable enough.

        The probability of an ancestor is the sum over the labels below it, so a parent is never
        less probable than its child.

        Parameters
        ----------
        by_label
            (n_cells, n_labels) float64 probabilities.
        where
            (n_cells,) bool, cells to process.
        least
            The minimum probability; one number, or (n_cells,).

        Returns
        -------
        Int32Vector
            (n_cells,) int32 into ``ancestors``, among equally deep ones the most probable; -1 if
            none.
        """
        fallen = np.full(len(by_label), -1, np.int32)
        if not self.ancestors:
            return fallen
        # Label by label, because the order of summation in a matrix product depends on its shape.
        chances = np.zeros((len(by_label), len(self.ancestors)))
        for chance, below in zip(by_label.T, self.below.T, strict=True):
            chances[:, below] += chance[:, None]
        depth = np.array([name.count(SEPARATOR) for name in self.ancestors])
        rank = np.where(
            chances >= np.reshape(least, (-1, 1)), depth + np.minimum(chances, 1) / 2, -1.0
        )
        best = rank.argmax(axis=1)
        found = where & (rank[np.arange(len(rank)), best] >= 0)
        fallen[found] = best[found]
        return fallen
