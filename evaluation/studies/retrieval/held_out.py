"""Choose among settings by groups of photos that the choice then does not judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from search.fusion.fit import OUTER_FOLDS, folds


def group_weights(
    groups: Sequence[Mapping[str, Sequence]], kinds: Mapping[str, Sequence[str]]
) -> np.ndarray:
    """Weight of each group in the mean over all sets, float64 (G,), summing to 1.

    Sets count equally, in a set its kinds, and in a kind its groups. Groups without a kind are a
    kind of their own.

    Args:
        groups: the groups of each set by name; together G.
        kinds: kind -> names of groups.
    """
    kind_of = {name: kind for kind, names in kinds.items() for name in names}
    weights = []
    for named in groups:
        kind = [kind_of.get(name) for name in named]
        weights += [1 / (len(groups) * len(set(kind)) * kind.count(one)) for one in kind]
    return np.array(weights)


def held_out_choice(maps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The best setting on the other groups, for each group.

    Args:
        maps: mAP of each setting on each group, (S, G).
        weights: output of `group_weights`, (G,).

    Returns:
        int (G,), 0 to S - 1.
    """
    chosen = np.zeros(maps.shape[1], np.int64)
    for judged in folds(np.arange(maps.shape[1]), OUTER_FOLDS):
        chosen[judged] = (maps[:, ~judged] @ weights[~judged]).argmax()
    return chosen
