"""Fits what `search.fusion` knows: weights of the evidence, and diffusion's share, on groups of photos of the same thing.

Logistic regression by maximum likelihood, each group weighing the same and each of its photos the query once. That settles the
order. But a probability means something only for galleries like the one it was fitted on. So that the page is not too sure of
itself in a gallery that has one or two photos of most things and none of others, the log-odds are then scaled and shifted
(Platt 1999) on the same answers with other weights: a query's relevant photos weigh together no more than VIEWS, and the
store's photos that are in no group, which must show what no other photo shows, are queries too and weigh as much as the rest.

Whether the result holds for other things is judged by fits that leave out one group at a time: the mAP printed, the log-loss
and the reliability plot are of queries whose group the weights had not seen.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from tqdm import tqdm

from extractor import Extractor
from index_store import Store, model_of
from metrics import average_precision
from search import MATCHERS, Engine, PreparedQuery
from search.fusion import fusion

from .groups import store_groups

SHARES = (1.0, 2.0, 4.0, 6.0)
VIEWS = 2.0
RIDGE = 1e-4  # weight decay of standardised features: only to keep weights finite
BINS = (0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1)

Progress = Callable[[Iterable], Iterable]


@dataclass(frozen=True)
class Samples:
    """All queries' candidates under one setting of the toggles.

    features (n, F); mode (n,) of `fusion`; relevant bool (n,); weight and prior (n,), of the two fits; query and group (n,),
    numbers of what each candidate belongs to. A photo that is in no group has a negative number as a query, and is left
    out together with a group.
    """

    features: np.ndarray
    mode: np.ndarray
    relevant: np.ndarray
    weight: np.ndarray
    prior: np.ndarray
    query: np.ndarray
    group: np.ndarray


def fit(features: np.ndarray, relevant: np.ndarray, weight: np.ndarray, free: int) -> np.ndarray:
    """Weights (F,) of the most likely logistic regression; those from column `free` on are never negative.

    features (n, F), the first a constant 1; relevant (n,), 0 or 1; weight (n,).
    """
    mean = np.average(features, axis=0, weights=weight)
    deviation = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weight))
    mean[0], deviation[0] = 0, 1
    deviation[deviation == 0] = 1
    scaled, share = (features - mean) / deviation, weight / weight.sum()

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        odds = scaled @ w
        value = share @ (np.logaddexp(0, odds) - relevant * odds) + RIDGE * w[1:] @ w[1:]
        slope = (
            scaled.T @ (share * (fusion.probability(odds) - relevant)) + 2 * RIDGE * np.r_[0, w[1:]]
        )
        return value, slope

    bounds = [(None, None)] * free + [(0, None)] * (features.shape[1] - free)
    found = minimize(loss, np.zeros(features.shape[1]), jac=True, bounds=bounds, method="L-BFGS-B")
    weights = found.x / deviation
    weights[0] -= weights[1:] @ mean[1:]
    return weights


def collect(
    engine: Engine,
    prepared: list[PreparedQuery],
    groups: list[list[int]],
    reranked: bool,
    sift: bool,
    matcher: str,
    progress: Progress,
) -> Samples:
    """Ask every photo of the store. prepared: all of them, by id; they keep what was verified."""
    alone = np.setdiff1d(np.arange(len(engine.store)), [id for members in groups for id in members])
    queries = [(g, id, 1 / len(members)) for g, members in enumerate(groups) for id in members]
    known = len(queries)
    queries += [(j % len(groups), id, len(groups) / len(alone)) for j, id in enumerate(alone)]
    parts = []
    for number, (g, id, share) in enumerate(progress(queries)):
        ids, evidence, any_verified = engine.evidence(
            prepared[id], "diffusion" if reranked else None, matcher if sift else None
        )
        mode = fusion.mode(reranked, sift, any_verified)
        n = len(ids)
        relevant = np.isin(ids, groups[g]) & (number < known)
        weight = np.full(n, share / n if number < known else 0.0)
        prior = share / n * np.where(relevant, np.minimum(1, VIEWS / max(1, relevant.sum())), 1)
        query = np.full(n, number if number < known else -number)
        parts.append(
            (
                fusion.features(evidence, sift),
                np.full(n, mode),
                relevant,
                weight,
                prior,
                query,
                np.full(n, g),
            )
        )
    return Samples(*(np.concatenate(column) for column in zip(*parts)))


def fit_samples(samples: Samples, kept: np.ndarray) -> dict[str, np.ndarray]:
    """`fit` on some of the samples (mask (n,)), each mode by itself; no weights for a mode without a relevant photo."""
    free, weights = len(fusion.OF_THE_QUERY), {}
    for mode in np.unique(samples.mode[kept]):
        part = kept & (samples.mode == mode)
        if not (samples.weight[part] * samples.relevant[part]).any():
            continue  # nothing to learn from
        features, relevant = samples.features[part], samples.relevant[part]
        w = fit(features, relevant, samples.weight[part], free)
        odds = features @ w
        shift, scale = fit(
            np.stack([np.ones(len(odds)), odds], axis=1), relevant, samples.prior[part], 1
        )
        w *= scale
        w[0] += shift
        weights[str(mode)] = w
    return weights


def held_out(samples: Samples) -> np.ndarray:
    """Log-odds (n,), each from a fit without the candidate's group; 0 for a mode that no other group has."""
    odds = np.zeros(len(samples.group))
    for g in np.unique(samples.group):
        for mode, weights in fit_samples(samples, samples.group != g).items():
            part = (samples.group == g) & (samples.mode == mode)
            odds[part] = samples.features[part] @ weights
    return odds


def mean_ap(samples: Samples, scores: np.ndarray, groups: list[list[int]]) -> float:
    """Mean over groups of the mAP of an order by scores (n,); what is missing from a ranking counts."""
    sizes = [len(members) for members in groups]
    by_group: list[list[float]] = [[] for _ in groups]
    starts = np.flatnonzero(np.r_[True, np.diff(samples.query) != 0])
    for start, end in zip(starts, np.r_[starts[1:], len(scores)]):
        if samples.query[start] < 0:
            continue
        order = np.argsort(-scores[start:end], kind="stable")
        hits = np.flatnonzero(samples.relevant[start:end][order])
        wanted = sizes[samples.group[start]] - 1
        missing = range(-1, hits.size - wanted - 1, -1)
        by_group[samples.group[start]].append(
            average_precision(range(end - start), [*hits, *missing])
        )
    return float(np.mean([np.mean(values) for values in by_group]))


def reliability(samples: Samples, odds: np.ndarray) -> list[tuple[float, float, float]]:
    """For each of BINS that holds any: mean probability, share that is relevant, share of all relevant ones."""
    p, rows = fusion.probability(odds), []
    total = (samples.prior * samples.relevant).sum()
    for low, high in zip(BINS, BINS[1:]):
        inside = (low <= p) & (p < high if high < 1 else p <= 1)
        if inside.any():
            weight, relevant = samples.prior[inside], samples.relevant[inside]
            found = (weight * relevant).sum()
            rows.append(
                (
                    float(np.average(p[inside], weights=weight)),
                    float(found / weight.sum()),
                    float(found / total),
                )
            )
    return rows


def log_loss(samples: Samples, odds: np.ndarray) -> float:
    """Mean over candidates, in nats."""
    return float(np.average(np.logaddexp(0, odds) - samples.relevant * odds, weights=samples.prior))


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `fit` to the command line's sub-parsers."""
    command = commands.add_parser(
        "fit", help="fit the constants of fusion on groups of photos of the same thing"
    )
    command.add_argument("--store", type=Path, required=True)
    command.add_argument(
        "--groups", type=Path, required=True, help='JSON: {"name": ["file", ...], ...}'
    )
    command.add_argument("--model", help="for a store of a model that is not the project's own")
    command.add_argument(
        "--matcher", choices=MATCHERS, default="sift", help="whose points (default sift)"
    )
    command.add_argument("--out", type=Path, help="default: what the engine reads")
    command.add_argument(
        "--curve", type=Path, help="also write the reliability plot for `evaluation report`"
    )
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    extractor = Extractor(model_of(args.store, args.model))
    store = Store(args.store, extractor)
    named = store_groups(args.groups, store)
    groups = [[store.catalogue.find(file).id for file in files] for files in named.values()]
    engine = Engine(store, extractor)
    prepared = [engine.prepare(id) for id in range(len(store))]
    label = MATCHERS[args.matcher].label

    def progress(what: str) -> Progress:
        return lambda queries: tqdm(queries, desc=what, disable=None)

    def gather(reranked: bool, sift: bool, what: str) -> Samples:
        samples = collect(engine, prepared, groups, reranked, sift, args.matcher, progress(what))
        engine.fusion.weights[args.matcher] |= fit_samples(
            samples, np.ones(len(samples.group), bool)
        )
        return samples

    # Without diffusion first: its second round starts from photos that "verification" has judged.
    fitted = {"off": gather(False, False, "off"), label: gather(False, True, label)}
    weights = dict(engine.fusion.weights[args.matcher])
    print(f"| diffusion's share | mAP, diffusion | mAP, diffusion + {label} |\n|---|---|---|")
    best = -1.0
    # The share is diffusion's own, fitted with SIFT, and holds with every matcher.
    for share in SHARES if args.matcher == "sift" else [fusion.load_share()]:
        engine.rerankers["diffusion"].share = share
        trial = {"diffusion": gather(True, False, f"share {share}")}
        trial[f"diffusion + {label}"] = gather(True, True, f"share {share}, {label}")
        maps = [mean_ap(samples, held_out(samples), groups) for samples in trial.values()]
        print(f"| {share} | {maps[0]:.4f} | {maps[1]:.4f} |")
        if sum(maps) > best:
            best, chosen, weights = sum(maps), share, dict(engine.fusion.weights[args.matcher])
            fitted |= trial
    print("\n| toggles | mAP of held-out groups | log-loss |\n|---|---|---|")
    for name, samples in fitted.items():
        odds = held_out(samples)
        print(f"| {name} | {mean_ap(samples, odds, groups):.4f} | {log_loss(samples, odds):.4f} |")
    print(
        f"\n| probability (diffusion + {label}) | that are the same thing | share of all that are |\n|---|---|---|"
    )
    rows = reliability(samples, odds)
    for p, relevant, share in rows:
        print(f"| {p:.3f} | {relevant:.3f} | {share:.3f} |")
    write(args.out or fusion.fitted_for(args.matcher), weights, chosen, store, groups)
    if args.curve:
        curve = {
            "title": "Reliability of the probability on the page, groups held out",
            "xlabel": "probability",
        }
        curve |= {
            "ylabel": "share that is the same thing",
            "x": [r[0] for r in rows],
            "y": [r[1] for r in rows],
        }
        args.curve.write_text(json.dumps(curve, indent=2) + "\n")


def write(
    path: Path,
    weights: dict[str, np.ndarray],
    share: float,
    store: Store,
    groups: dict[str, list[int]],
) -> None:
    """The file `search.fusion` reads."""
    named = {
        mode: dict(zip(fusion.feature_names(mode in fusion.WITH_POINTS), map(float, w.round(4))))
        for mode, w in weights.items()
    }
    source = {"photos": len(store), "groups": len(groups), "queries": sum(map(len, groups))}
    source["fingerprint"] = store.manifest.fingerprint
    path.write_text(
        json.dumps({"fitted_on": source, "diffusion_share": share, "weights": named}, indent=2)
        + "\n"
    )
