"""python -m model train CONFIG.toml [KEY=VALUE ...] | distill CONFIG.toml [KEY=VALUE ...] | compare
CHECKPOINT ... | whitenings CHECKPOINT
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from command import (
    CommandParser,
    complain,
    print_lines,
    print_status,
    run_command,
)
from extractor import BadPhoto
from plurals import quantity

from .checkpoints.checkpoint import load_checkpoint
from .checkpoints.state import BadCheckpoint
from .network import TRUNK_DIM
from .training.common.config import BadConfig, read_config
from .training.common.describe import validate
from .training.common.pairs import BadTrainingData, photos_under
from .training.common.settings import DistillConfig, TrainConfig, Validation
from .training.common.whitenings import compare_whitenings
from .training.distill.teacher import BadTeacher
from .training.distill.train import Distillation, benchmark
from .training.finetune.train import FineTuning

DIMS = (TRUNK_DIM, 1024, 512)  # of the descriptors that whitenings are compared at


def run_train(args: argparse.Namespace) -> None:
    config = read_config(args.config, TrainConfig, args.changes)
    run = FineTuning(config)
    if run.state.epoch or run.state.tuples is not None:
        print_lines(f"going on at epoch {run.state.epoch}, step {run.state.step}")
    print_lines(
        f"{quantity(len(run.training.paths), 'photo')}, "
        f"{quantity(len(run.training.pairs), 'pair')}; log and weights go to {config.out}"
    )
    best = run.train()
    print_lines(f"best validation mAP {best:.4f}: {config.out / 'best.safetensors'}")


def run_distill(args: argparse.Namespace) -> None:
    run = Distillation(read_config(args.config, DistillConfig, args.changes))
    if args.benchmark:
        bare, whole = benchmark(run)
        print_lines(
            f"bare step {bare:.2f} photos/s, whole run {whole:.2f} photos/s: {whole / bare:.2f}"
        )
        return
    if run.step:
        print_lines(f"going on at step {run.step}")
    print_lines(f"{quantity(len(run.paths), 'photo')}; log and weights go to {run.config.out}")
    run.train()
    print_lines(f"{quantity(run.step, 'step')}: {run.config.out / 'student.safetensors'}")


def run_compare(args: argparse.Namespace) -> None:
    print_lines("| checkpoint | GeM p | mAP |", "|---|---|---|")
    for path in args.checkpoints:
        network, provenance = load_checkpoint(path)
        value = validate(network.eval(), provenance, Validation(args.photos, args.groups))
        print_lines(
            f"| {path.parent.name}/{path.name} | {network.pool.p.item():.3f} | {value:.4f} |"
        )


def run_whitenings(args: argparse.Namespace) -> None:
    network, provenance = load_checkpoint(args.checkpoint)
    others = [path for folder in args.others for path in photos_under(folder)]
    if not others:
        raise BadTrainingData(f"there are no photos in {', '.join(map(str, args.others))}")
    if args.most < 1:
        raise BadTrainingData("--most must be at least 1")
    others = [others[i] for i in np.random.default_rng(0).permutation(len(others))[: args.most]]
    measured = compare_whitenings(
        network.eval(), provenance, Validation(args.photos, args.groups), others, DIMS
    )
    for count, row in enumerate(measured):
        print_lines("| " + " | ".join(row) + " |")
        if count == 0:
            print_lines("|" + "---|" * len(row))


def labelled(command: argparse.ArgumentParser) -> None:
    """Add the options that name labelled photos."""
    command.add_argument("--photos", type=Path, required=True)
    command.add_argument(
        "--groups", type=Path, required=True, help='JSON: {"name": ["file", ...], ...}'
    )


def main(argv: list[str] | None = None) -> int:
    parser = CommandParser(prog="python -m model", description="Train descriptor networks.")
    commands = parser.add_subparsers(required=True)
    for name, run, what in (
        ("train", run_train, "fine-tune with tuples and hard negatives"),
        ("distill", run_distill, "learn from an ONNX model, without labels"),
    ):
        command = commands.add_parser(name, help=what)
        command.add_argument("config", type=Path, help="TOML file, see model/configs")
        command.add_argument(
            "changes",
            nargs="*",
            metavar="KEY=VALUE",
            help="other values than the file's, such as loss.name='\"n-tuple\"'",
        )
        command.set_defaults(run=run)
        if name == "distill":
            command.add_argument(
                "--benchmark",
                action="store_true",
                help="print photos a second of the bare step and of the whole run, train nothing",
            )
    command = commands.add_parser("compare", help="mAP of checkpoints on photos in groups")
    command.add_argument(
        "checkpoints", type=Path, nargs="+", help="files of any kind `python -m export` reads"
    )
    labelled(command)
    command.set_defaults(run=run_compare)
    command = commands.add_parser("whitenings", help="mAP of whitenings learned without labels")
    command.add_argument("checkpoint", type=Path)
    labelled(command)
    command.add_argument(
        "--others", type=Path, nargs="+", required=True, help="folders of other photos"
    )
    command.add_argument(
        "--most",
        type=int,
        default=4000,
        help="of them, drawn at random (default: 4000); fewer than the trunk's 2048 dimensions "
        "leave directions unseen",
    )
    command.set_defaults(run=run_whitenings)
    args = parser.parse_args(argv)
    try:
        args.run(args)
    except BrokenPipeError:
        raise  # for run_command
    except (BadConfig, BadCheckpoint, BadPhoto, BadTeacher, BadTrainingData, OSError) as error:
        complain(error)
        return 1
    except KeyboardInterrupt:
        print_status("", "interrupted: run the same command again to go on at the same step")
        return 130
    return 0


if __name__ == "__main__":
    run_command(main)
