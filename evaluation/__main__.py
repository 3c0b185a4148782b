"""python -m evaluation COMMAND: quality and speed of each stage. See --help."""

from __future__ import annotations

from command import CommandParser, exit_code, run_command
from download import DownloadFailed
from extractor import BadModel, BadPhoto
from index_store import StoreError
from search import BadCalibration

from . import data, groups, models, reproduce
from . import run as run_dataset
from .calibration import fit
from .datasets import BadDataset
from .report import figures, report
from .report.results import BadResults
from .studies.ann import ann
from .studies.ann.ann_peers import MissingPeers
from .studies.retrieval import (
    graph_weights,
    keypoint_index,
    matching,
    pooling,
    shortlist,
    steps,
    things,
)
from .studies.serving import kills, load
from .studies.speed import scale
from .studies.speed import verification_cost as verification

COMMANDS = {
    "data": (data, "data sets by name: list them, or get one"),
    "figures": (figures, "measure the project's own table, and write it where it is shown"),
    "reproduce": (reproduce, "published figures of a network against those measured here"),
    "run": (run_dataset, "a data set from its photos to the table of all methods, with intervals"),
    "models": (models, "descriptor models side by side, by stage"),
    "report": (report, "one HTML page of results and curves"),
    "fit": (fit, "fit how probable a match is, on groups of photos of the same thing"),
    "groups": (groups, "photos of the same thing find each other: mAP and recall@1 by stage"),
    "verification": (verification, "speed of verifying a shortlist against a plain loop"),
    "keypoint-index": (keypoint_index, "what the keypoint index costs as a gallery grows"),
    "pooling": (pooling, "a backbone's size, GeM exponent and whitening, chosen on other groups"),
    "shortlist": (shortlist, "recall of the photos that are compared point by point"),
    "steps": (steps, "mAP and comparisons of a search that compares photos in steps"),
    "matching": (matching, "mAP without and with the matching graph, on held-out groups"),
    "graph-weights": (graph_weights, "mAP with other weights of the matching graph"),
    "things": (things, "whether photos that are put together show the same thing, by kind"),
    "kills": (kills, "kill -9 after every write of all that writes"),
    "load": (load, "many visitors at once, by websocket and API"),
    "scale": (scale, "what a store costs as it grows"),
    "ann": (ann, "recall, speed and memory of all forms of index over sizes, beside others'"),
}


def main(argv: list[str] | None = None) -> int:
    parser = CommandParser(
        prog="python -m evaluation", description="Measure what each stage is worth."
    )
    commands = parser.add_subparsers(required=True)
    for name, (module, help) in COMMANDS.items():
        command = commands.add_parser(name, help=help)
        command.set_defaults(run=module.run)
        module.add_options(command)
    args = parser.parse_args(argv)
    return exit_code(
        lambda: args.run(args),
        BadCalibration,
        BadDataset,
        BadModel,
        BadPhoto,
        BadResults,
        DownloadFailed,
        MissingPeers,
        ModuleNotFoundError,  # by `require_package`: a package of another requirements file
        StoreError,
        OSError,
    )


if __name__ == "__main__":
    run_command(main)
