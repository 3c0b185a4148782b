"""`evaluation fit`: fit a model's calibration file on groups of photos of the same thing.

For each pair of a reranker and a matcher: collect the engine's evidence for each photo's candidates
(`evidence`), fit its weights (`search.fusion.fit`), and write them to the given file
(`search.fusion.calibration`).

All printed figures are cross-fitted: weights and calibration never saw the group they judge. One
exception: the curve by which a reranker's second round chooses its seeds has seen all groups. It
has only a few parameters.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from command import print_lines, print_text
from extractor import Extractor
from index_store import Store, model_of
from plurals import quantity
from search import MATCHERS, RERANKERS
from search.fusion import log_odds
from search.fusion.calibration import (
    FITTED,
    REFERENCE,
    Calibration,
    CalibrationModel,
    Fitted,
    pair_of,
    read_fitted,
    write_fitted,
)
from search.fusion.fit import Samples, fit_curves, thinned

from ..datasets import BadDataset
from ..groups import add_labelled_stores, read_kinds, store_group_ids
from ..metrics import average_precision
from ..report.conditions import conditions
from ..report.results import format_rows
from .evidence import Progress, Setting, collect
from .fit_tables import print_quality, set_rows, setting_name
from .labelled_galleries import LabelledGallery, galleries_of

MIN_GROUPS = 5  # with fewer, nothing can be said about other things


def settings_of(matcher: str) -> list[Setting]:
    """The settings to fit with a matcher. Learned matchers are too slow for every reranker."""
    if matcher != "sift":
        return [(None, matcher), ("diffusion", matcher)]
    settings = [(rerank, verify) for verify in (None, matcher) for rerank in (None, *RERANKERS)]
    return [(log_odds.PAIR, matcher), *settings]


def check_enough(groups: Sequence[Sequence[int]]) -> None:
    """Raise BadDataset if there are too few groups for a fit."""
    if len(groups) < MIN_GROUPS:
        raise BadDataset(
            f"There is too little to fit: {quantity(len(groups), 'group')}; at least "
            f"{MIN_GROUPS} of at least two photos are needed. Nothing was written."
        )


class Fit:
    """State of a fit: collected samples and fitted curves, for stores and one matcher."""

    def __init__(self, galleries: Sequence[LabelledGallery], fitted: Fitted):
        """Start a fit.

        Args:
            galleries: output of `galleries_of`, for one or several stores of the same model.
            fitted: existing calibration, whose pairs are replaced one by one.
        """
        self.galleries = galleries
        self.fitted = fitted
        self.samples: dict[Setting, Samples] = {}
        self.use(self.fitted)

    def add(self, setting: Setting, progress: Progress) -> None:
        """Collect and fit one setting, and use it in the engines from then on."""
        samples = collect(self.galleries, setting, progress)
        self.samples[setting] = samples
        self.fitted = with_curves(self.fitted, setting, fit_curves(thinned(samples)))
        self.use(self.fitted)

    def group_maps(self, samples: Samples, odds: np.ndarray) -> list[np.ndarray]:
        """mAP of each group in the whole stores: for each store, float (groups,).

        Args:
            samples: samples of all galleries, n in all.
            odds: their log-odds (n,).
        """
        maps = []
        for whole in self.galleries:
            if whole.is_whole:
                number = samples.query - whole.offset
                inside = (number >= 0) & (number < len(whole))
                group = samples.group[inside] - whole.first_group
                part = replace(samples[inside], group=group)
                maps.append(group_maps(part, odds[inside], whole.groups))
        return maps

    def mean_ap(self, samples: Samples, odds: np.ndarray) -> float:
        """Mean over the stores of their mAP. Arguments as in `group_maps`."""
        return float(np.mean([np.mean(maps) for maps in self.group_maps(samples, odds)]))

    def use(self, fitted: Fitted) -> None:
        """Pass a calibration to all engines."""
        calibration = Calibration(fitted, read_fitted(FITTED / REFERENCE))
        for gallery in self.galleries:
            gallery.engine.fusion.calibration = calibration


def with_curves(fitted: Fitted, setting: Setting, curves: dict[str, CalibrationModel]) -> Fitted:
    """Replace the curves of one pair; drop the pair if a mode could not be fitted."""
    pairs = {key: modes for key, modes in fitted.pairs.items() if key != pair_of(*setting)}
    if set(curves) == set(log_odds.modes(*setting)):
        pairs[pair_of(*setting)] = curves
    return replace(fitted, pairs=pairs)


def group_maps(samples: Samples, scores: np.ndarray, groups: Sequence[Sequence[int]]) -> np.ndarray:
    """mAP of an order for each group with two or more photos, float (groups,).

    Args:
        samples: samples of one gallery.
        scores: (n,), scores that order the candidates.
        groups: groups of the gallery. Photos missing from a ranking count as not found.
    """
    by_group: list[list[float]] = [[] for _ in groups]
    starts = np.flatnonzero(np.r_[True, np.diff(samples.query) != 0])
    for start, end in zip(starts, np.r_[starts[1:], len(scores)]):
        if samples.weight[start] == 0:
            continue  # a photo without a group
        order = np.argsort(-scores[start:end], kind="stable")
        hits = np.flatnonzero(samples.relevant[start:end][order])
        relevant_count = len(groups[samples.group[start]]) - 1
        missing = range(-1, hits.size - relevant_count - 1, -1)
        by_group[samples.group[start]].append(
            average_precision(range(end - start), [*hits, *missing])
        )
    return np.array([np.mean(values) for values in by_group if values])


# -- the command -----------------------------------------------------------------------------------


def add_options(command: argparse.ArgumentParser) -> None:
    add_labelled_stores(command, "one or several of the same model")
    command.add_argument("--model", help="for a store of a model that is not the project's own")
    command.add_argument(
        "--matcher", choices=MATCHERS, default="sift", help="whose points (default sift)"
    )
    command.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE.json",
        help="the model's calibration; one that is there keeps what is not refitted. "
        f"The engine reads those in {FITTED.relative_to(FITTED.parents[2])}",
    )
    command.add_argument(
        "--curve", type=Path, help="also write the reliability plot for `evaluation report`"
    )


def begin(path: Path, model: str, fingerprint: str) -> Fitted:
    """The existing content of the output file, or an empty calibration.

    Raises:
        BadDataset: the file belongs to another model.
        BadCalibration: the file is not a calibration.
        OSError: the file cannot be read.
    """
    if not path.exists():
        return Fitted(model, fingerprint, {}, {})
    fitted = read_fitted(path)
    if fitted.fingerprint != fingerprint:
        raise BadDataset(
            f"{path} is the calibration of another model ({fitted.model}). It was not changed."
        )
    return fitted


def run(args: argparse.Namespace) -> None:
    if not args.out.parent.is_dir():
        raise BadDataset(f"There is no folder {args.out.parent} to write the calibration in.")
    kinds = read_kinds(args)
    model = model_of(args.store[0], args.model)
    extractor = Extractor(model)
    print_lines(f"Measured: {conditions(extractor.engine)}.", "")
    galleries: list[LabelledGallery] = []
    names = []
    for path, groups_file in zip(args.store, args.groups):
        store = Store(path, extractor)
        groups = store_group_ids(groups_file, store)
        ids = list(groups.values())
        check_enough(ids)
        names.append(list(groups))
        galleries += galleries_of(store, extractor, ids, args.matcher, galleries)
    fit = Fit(galleries, begin(args.out, model.stem, extractor.fingerprint))

    def progress(label: str) -> Progress:
        return lambda queries: tqdm(queries, desc=label, disable=None)

    # Without a reranker first: the second round of the others starts from photos judged by it.
    settings = settings_of(args.matcher)
    for setting in settings:
        if setting[0] in (None, log_odds.PAIR):
            fit.add(setting, progress(setting_name(setting)))
    for setting in settings:
        if setting[0] not in (None, log_odds.PAIR):
            fit.add(setting, progress(setting_name(setting)))
    stores = [gallery for gallery in galleries if gallery.is_whole]
    facts: dict[str, object] = {
        "photos": sum(map(len, stores)),
        "groups": sum(len(store.groups) for store in stores),
        "queries": sum(len(group) for store in stores for group in store.groups),
        "galleries": [len(gallery) for gallery in galleries],
    }
    curve = print_quality(fit, ("diffusion", args.matcher))
    print_text(f"\n{format_rows(set_rows(fit, names, kinds))}")
    write_fitted(replace(fit.fitted, fitted_on=facts), args.out)
    print_lines("", f"wrote {args.out}")
    if args.curve:
        args.curve.write_text(json.dumps(curve, indent=2) + "\n")
