"""python -m model train CONFIG.toml [KEY=VALUE ...] | distill CONFIG.toml [KEY=VALUE ...] | compare
CHECKPOINT ... | whitenings CHECKPOINT | pack POOL --out PARTS
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from tqdm import tqdm

from command import CommandParser, exit_code, print_lines, run_command
from extractor import BadPhoto
from plurals import quantity

from .checkpoints.checkpoint import load_checkpoint
from .checkpoints.state import BadCheckpoint
from .network import TRUNK_DIM
from .training.common.config import BadConfig, read_config
from .training.common.describe import validate
from .training.common.pairs import BadTrainingData, photos_in
from .training.common.settings import DistillConfig, TrainConfig, Validation
from .training.common.whitenings import compare_whitenings
from .training.distill.teacher import BadTeacher
from .training.distill.train import Distillation, benchmark
from .training.finetune.train import FineTuning
from .training.packs.pack import pack
from .training.packs.parts import MB, BadParts

REFUSALS = (BadConfig, BadCheckpoint, BadParts, BadPhoto, BadTeacher, BadTrainingData)
DIMS = (TRUNK_DIM, 1024, 512)  # descriptor dimensions at which whitenings are compared


def run_train(args: argparse.Namespace) -> None:
    config = read_config(args.config, TrainConfig, args.changes)
    run = FineTuning(config, args.seconds)
    if run.state.epoch or run.state.tuples is not None:
        print_lines(f"resuming at epoch {run.state.epoch}, step {run.state.step}")
    print_lines(
        f"{quantity(len(run.training.paths), 'photo')}, "
        f"{quantity(len(run.training.pairs), 'pair')}; log and weights go to {config.out}"
    )
    best = run.train()
    print_lines(f"best validation mAP {best:.4f}: {config.out / 'best.safetensors'}")


def run_distill(args: argparse.Namespace) -> None:
    run = Distillation(read_config(args.config, DistillConfig, args.changes), args.seconds)
    if args.benchmark:
        bare, whole, operations = benchmark(run)
        print_lines(
            f"bare step {bare:.2f} photos/s, whole run {whole:.2f} photos/s: {whole / bare:.2f}",
            f"{operations / 1e9:.1f} GFLOP a photo: {bare * operations / 1e12:.2f} TFLOP/s",
        )
        return
    if run.step:
        print_lines(f"resuming at step {run.step}")
    print_lines(f"{quantity(len(run.source), 'photo')}; log and weights go to {run.config.out}")
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
    others = photos_in(args.others)
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
    """Add the options for labelled photos."""
    command.add_argument("--photos", type=Path, required=True)
    command.add_argument(
        "--groups", type=Path, required=True, help='JSON: {"name": ["file", ...], ...}'
    )


def above_zero(text: str) -> float:
    """A number above 0, for argparse."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def run_pack(args: argparse.Namespace) -> None:
    packed = pack(args.pool, args.out, args.side, lambda files: tqdm(files, "packing", unit=""))
    size = sum(part.size for part in packed.parts) / MB
    print_lines(
        f"{quantity(packed.photos, 'photo')} in {quantity(len(packed.parts), 'part')} of together "
        f"{size:.1f} MB, {packed.left_out} left out: {args.out}"
    )


def main(argv: list[str] | None = None) -> int:
    parser = CommandParser(prog="python -m model", description="Train descriptor networks.")
    commands = parser.add_subparsers(required=True)
    for name, run, help_text in (
        ("train", run_train, "fine-tune with tuples and hard negatives"),
        ("distill", run_distill, "learn from an ONNX model, without labels"),
    ):
        command = commands.add_parser(name, help=help_text)
        command.add_argument("config", type=Path, help="TOML file, see model/configs")
        command.add_argument(
            "changes",
            nargs="*",
            metavar="KEY=VALUE",
            help="other values than the file's, such as loss.name='\"n-tuple\"'",
        )
        command.add_argument(
            "--seconds",
            type=above_zero,
            metavar="N",
            help="end training N seconds from now; state and weights are written, and the same "
            "command resumes from there",
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
    command = commands.add_parser("pack", help="write photos as WebP in parts, for training")
    command.add_argument("pool", type=Path, nargs="+", metavar="POOL", help="folders of photos")
    command.add_argument(
        "--side", type=int, default=192, help="pixels of their longest side (default: 192)"
    )
    command.add_argument("--out", type=Path, required=True, metavar="PARTS", help="empty folder")
    command.set_defaults(run=run_pack)
    args = parser.parse_args(argv)
    return exit_code(
        lambda: args.run(args),
        *(*REFUSALS, OSError),
        resume="interrupted: run the same command again to resume at the same step",
    )


if __name__ == "__main__":
    run_command(main)
