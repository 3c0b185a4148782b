"""Tables that `evaluation fit` prints, all with the judged groups held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from command import print_text
from search import MATCHERS
from search.fusion import log_odds
from search.fusion.fit import Samples, calibration_error, held_out, log_loss, reliability

from ..datasets.groups import parts_of
from ..report.results import format_rows
from .evidence import Setting

if TYPE_CHECKING:
    from .fit import Fit

VIEWS = (1, 2, 5, 20)  # photos of the thing besides the query: first number of each row of a table
WORDS = ("sure", "likely", "unsure")
LEADING = [(rerank, verify) for verify in (None, "sift") for rerank in (None, "diffusion")]


def setting_name(setting: Setting) -> str:
    """ "diffusion + SIFT", or "off"."""
    rerank, verify = setting
    names = [name for name in (rerank, verify and MATCHERS[verify].label) if name]
    return " + ".join(names) or "off"


def quality_row(name: str, fit: Fit, samples: Samples, odds: np.ndarray) -> list[str]:
    """mAP in the whole stores, log-loss, and calibration errors by size of gallery."""
    loss = log_loss(odds, samples.relevant, samples.prior)
    row = [name, f"{fit.mean_ap(samples, odds):.4f}", f"{loss:.4f}"]
    for photos in np.unique(samples.photos)[::-1]:
        part = samples.photos == photos
        relevant, prior = samples.relevant[part], samples.prior[part]
        row.append(f"{calibration_error(odds[part], relevant, prior, log_odds.CUT):.3f}")
    return row


def set_rows(
    fit: Fit, names: Sequence[Sequence[str]], kinds: Mapping[str, Sequence[str]]
) -> list[list[str]]:
    """mAP by store, by number of photos per group, and by kind of thing.

    Args:
        fit: fit with samples.
        names: names of each store's groups.
        kinds: names of groups by kind; groups without a kind are not in these rows.
    """
    settings = [s for s in LEADING if s in fit.samples]
    maps = [fit.group_maps(fit.samples[s], held_out(fit.samples[s])) for s in settings]
    rows = [["groups", "number", *map(setting_name, settings)]]
    stores = [gallery for gallery in fit.galleries if gallery.is_whole]
    for number, (store, group_names) in enumerate(zip(stores, names)):
        for part, members in parts_of(dict(zip(group_names, store.groups)), kinds).items():
            inside = np.isin(group_names, members)
            cells = [f"{maps_of[number][inside].mean():.3f}" for maps_of in maps]
            rows.append([f"store {number + 1}, {part}", str(len(members)), *cells])
    return rows


def views_rows(samples: Samples, odds: np.ndarray) -> list[list[str]]:
    """Probabilities of right photos, and calibration errors, by the number of right photos.

    Args:
        samples: samples of all galleries, n in all.
        odds: their log-odds (n,).
    """
    _, number = np.unique(samples.query, return_inverse=True)
    right = np.bincount(number, samples.relevant)[number]
    rows = [["other photos of the thing", "queries", *(f"of them {w}" for w in WORDS), "error"]]
    for lower, upper in zip(VIEWS, [*VIEWS[1:], np.inf]):
        part = (right >= lower) & (right < upper)
        if not part.any():
            continue
        words = [log_odds.word(p) for p in log_odds.probability(odds[part & samples.relevant])]
        shares = [f"{words.count(word) / len(words):.0%}" for word in WORDS]
        name = f"{lower} to {upper - 1:g}" if upper < np.inf else f"{lower} or more"
        error = calibration_error(
            odds[part], samples.relevant[part], samples.prior[part], log_odds.CUT
        )
        queries = len(np.unique(number[part]))
        rows.append([name, str(queries), *shares, f"{error:.3f}"])
    return rows


def print_reliability(
    name: str, samples: Samples, odds: np.ndarray
) -> list[tuple[float, float, float]]:
    """Print how right probabilities are, in all and by the number of right photos.

    Args:
        name: stages that the probabilities are from.
        samples: samples of all galleries, n in all.
        odds: their log-odds (n,).

    Returns:
        Output of `reliability`.
    """
    rows = reliability(odds, samples.relevant, samples.prior)
    cells = [[f"{value:.3f}" for value in row] for row in rows]
    head = [f"probability, {name}", "that are the same thing", "share of those"]
    print_text(f"\n{format_rows([head, *cells])}")
    print_text(f"\n{format_rows(views_rows(samples, odds))}")
    return rows


def print_quality(fit: Fit, leading: Setting) -> dict:
    """Print the quality of everything fitted, with groups held out.

    Args:
        fit: fit with samples.
        leading: the setting whose reliability is printed in full.

    Returns:
        Its curve, for `evaluation report`.
    """
    sizes = np.unique(next(iter(fit.samples.values())).photos)[::-1]
    table = [["stages", "mAP", "log-loss", *(f"error, {size} photos" for size in sizes)]]
    for setting, samples in fit.samples.items():
        table.append(quality_row(setting_name(setting), fit, samples, held_out(samples)))
    print_text(f"\n{format_rows(table)}")
    samples = fit.samples[leading]
    rows = print_reliability(setting_name(leading), samples, held_out(samples))
    return {
        "title": "Reliability of the probability on the page, groups held out",
        "xlabel": "probability",
        "ylabel": "share that is the same thing",
        "x": [row[0] for row in rows],
        "y": [row[1] for row in rows],
    }
