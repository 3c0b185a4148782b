"""python -m evaluation COMMAND: quality and speed of each stage. See --help."""

from __future__ import annotations

from command import CommandParser, print_error, run_command
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
from .studies.retrieval import keypoint_index, keypoints, matching, things
from .studies.serving import kills, load
from .studies.speed import scale
from .studies.speed import verification_cost as verification

COMMANDS = (
    data,
    figures,
    reproduce,
    run_dataset,
    models,
    report,
    fit,
    groups,
    verification,
    keypoints,
    keypoint_index,
    matching,
    things,
    kills,
    load,
    scale,
    ann,
)


def main(argv: list[str] | None = None) -> int:
    parser = CommandParser(
        prog="python -m evaluation", description="Measure what each stage is worth."
    )
    commands = parser.add_subparsers(required=True)
    for module in COMMANDS:
        module.add_command(commands)
    args = parser.parse_args(argv)
    try:
        args.run(args)
    except BrokenPipeError:
        raise  # handled by run_command
    except (
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
    ) as error:
        print_error(error)
        return 1
    return 0


if __name__ == "__main__":
    run_command(main)
