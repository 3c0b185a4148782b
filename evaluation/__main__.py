"""python -m evaluation COMMAND, see --help: how good and how fast each stage is."""

from __future__ import annotations

from command import CommandParser, complain, run_command
from datasets import BadDataset
from download import DownloadFailed
from extractor import BadModel, BadPhoto
from index_store import StoreError
from search import BadCalibration

from . import data, figures, fit, groups, models, report, reproduce
from . import run as run_dataset
from .results import BadResults
from .studies import ann, keypoint_index, keypoints, kills, load, matching, profiles, scale
from .studies import diffusion_cost as diffusion
from .studies import engine_speed as extractor
from .studies import extraction_speed as extraction
from .studies import page_speed as page
from .studies import query_agreement as agreement
from .studies import several_photos as several
from .studies import verification_cost as verification
from .studies.ann_peers import MissingPeers
from .studies.page_speed import NoBrowser

COMMANDS = (
    data,
    figures,
    reproduce,
    run_dataset,
    models,
    report,
    fit,
    groups,
    extractor,
    extraction,
    diffusion,
    verification,
    keypoints,
    keypoint_index,
    matching,
    several,
    profiles,
    agreement,
    kills,
    load,
    page,
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
        raise  # for run_command
    except (
        BadCalibration,
        BadDataset,
        BadModel,
        BadPhoto,
        BadResults,
        DownloadFailed,
        MissingPeers,
        NoBrowser,
        StoreError,
        OSError,
    ) as error:
        complain(error)
        return 1
    return 0


if __name__ == "__main__":
    run_command(main)
