"""python -m model train CONFIG.toml [KEY=VALUE ...] | distill CONFIG.toml [KEY=VALUE ...] | compare
CHECKPOINT ...
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from command import complain, run_command
from datasets.training import BadTrainingData
from extractor import BadPhoto

from .checkpoint import load_checkpoint
from .state import BadCheckpoint
from .training.config import BadConfig, read_config
from .training.describe import validate
from .training.distill import Distillation, benchmark
from .training.settings import DistillConfig, TrainConfig, Validation
from .training.teacher import BadTeacher
from .training.train import Run


def run_train(args: argparse.Namespace) -> None:
    config = read_config(args.config, TrainConfig, args.changes)
    run = Run(config)
    if run.state.epoch or run.state.tuples is not None:
        print(f"going on at epoch {run.state.epoch}, step {run.state.step}")
    print(
        f"{len(run.training.paths)} photos, {len(run.training.pairs)} pairs; log and weights go "
        f"to {config.out}"
    )
    best = run.train()
    print(f"best validation mAP {best:.4f}: {config.out / 'best.safetensors'}")


def run_distill(args: argparse.Namespace) -> None:
    run = Distillation(read_config(args.config, DistillConfig, args.changes))
    if args.benchmark:
        bare, whole = benchmark(run)
        print(f"bare step {bare:.2f} photos/s, whole run {whole:.2f} photos/s: {whole / bare:.2f}")
        return
    if run.step:
        print(f"going on at step {run.step}")
    print(f"{len(run.paths)} photos; log and weights go to {run.config.out}")
    run.train()
    print(f"{run.step} steps: {run.config.out / 'student.safetensors'}")


def run_compare(args: argparse.Namespace) -> None:
    print("| checkpoint | GeM p | mAP |\n|---|---|---|")
    for path in args.checkpoints:
        network, provenance = load_checkpoint(path)
        value = validate(network.eval(), provenance, Validation(args.photos, args.groups))
        print(
            f"| {path.parent.name}/{path.name} | {network.pool.p.item():.3f} | {value:.4f} |",
            flush=True,
        )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m model", description="Train descriptor networks."
    )
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
    command.add_argument("--photos", type=Path, required=True)
    command.add_argument(
        "--groups", type=Path, required=True, help='JSON: {"name": ["file", ...], ...}'
    )
    command.set_defaults(run=run_compare)
    args = parser.parse_args(argv)
    try:
        args.run(args)
    except BrokenPipeError:
        raise  # for run_command
    except (BadConfig, BadCheckpoint, BadPhoto, BadTeacher, BadTrainingData, OSError) as error:
        complain(error)
        return 1
    except KeyboardInterrupt:
        print(
            "\ninterrupted: run the same command again to go on at the same step", file=sys.stderr
        )
        return 130
    return 0


if __name__ == "__main__":
    run_command(main)
