"""python -m export NAME | --checkpoint FILE | --backbone FILE --map TENSOR --mean ... --std ...
--size N, --out MODEL.onnx

Also --int8 MODEL.onnx | --xfeat | --models | --list.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path

from command import CommandParser, exit_code, print_lines, print_text, run_command
from download import MIRRORS, DownloadFailed
from extractor import DEFAULT_MODEL, BadModel, BadPhoto
from extractor.descriptor.registry import format_models
from model import BadCheckpoint
from model.checkpoints.published import format_list

from .commands import run_backbone, run_checkpoint, run_int8
from .cut import BadBackbone
from .matching.xfeat import Missing, export_xfeat
from .named import prepare
from .parity import ParityError
from .recipe import BadRecipe

SAMPLE_PHOTOS = Path(__file__).resolve().parent.parent / "gallery" / "photos"


def scales(text: str) -> tuple[float, ...] | str:
    """ "published", or numbers separated by commas, for argparse."""
    if text == "published":
        return text
    values = tuple(float(part) for part in text.split(","))
    if not values or not all(0.1 <= value <= 4 for value in values):
        raise argparse.ArgumentTypeError("scales are numbers from 0.1 to 4")
    return values


def sha256(text: str) -> str:
    """A full SHA-256 digest, for argparse."""
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError("a SHA-256 has 64 hexadecimal digits")
    return text.lower()


def make_parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m export", description="Turn a descriptor network into one ONNX file."
    )
    add = parser.add_mutually_exclusive_group(required=True).add_argument
    add(
        "name",
        nargs="?",
        metavar="NAME",
        help="a published network: it is downloaded, checked, converted and proved (see --list)",
    )
    add(
        "--checkpoint",
        type=Path,
        help="file of a GeM-ResNet: safetensors, cirtorch, SOLAR, torchvision, ONNX",
    )
    add("--backbone", type=Path, help="ONNX file of any image network; see docs/models.md")
    add("--int8", type=Path, metavar="MODEL", help="exported model to make an int8 model from")
    add(
        "--xfeat", action="store_true", help="the models of learned matching, XFeat and LighterGlue"
    )
    add("--models", action="store_true", help="the models that can be searched with")
    add("--list", action="store_true", help="the published networks that have a NAME")
    add = parser.add_argument
    add(
        "--out",
        type=Path,
        help="ONNX file to write (--int8: beside the model); --xfeat: the folder",
    )
    add(
        "--longest-side",
        "--size",
        type=int,
        help="longest side in pixels to which photos are shrunk (default: that of the checkpoint)",
    )
    add(
        "--scales",
        type=scales,
        default=(1.0,),
        help='e.g. 1,0.7071,0.5, or "published" (default 1)',
    )
    add("--map", metavar="TENSOR", help="of a backbone: the map, tokens or vector to pool")
    add("--mean", type=float, nargs="+", help="of a backbone's photos, RGB in 0 to 1 or 0 to 255")
    add("--std", type=float, nargs="+", help="the deviation, likewise")
    add(
        "--p",
        type=float,
        help="of a backbone: exponent of GeM (default: what finds most among --photos by --groups)",
    )
    add(
        "--whiten-on",
        "--whiten",
        type=Path,
        metavar="FOLDER",
        help="learn a whitening from these photos",
    )
    add("--dim", type=int, help="number of dimensions to keep of a whitening learned afterwards")
    add(
        "--no-whitening",
        action="store_true",
        help="leave out a whitening that the checkpoint holds",
    )
    add(
        "--groups",
        type=Path,
        help="JSON of photos of the same thing: with --checkpoint and --whiten-on for Lw, "
        "with --backbone for p "
        "(default: the sample gallery's)",
    )
    add(
        "--mirror",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="of a NAME: ask there first; it keeps https://HOST/PATH at ADDRESS/HOST/PATH "
        f"(default: the addresses in {MIRRORS}); files without a SHA-256 come from their own "
        "address alone",
    )
    add(
        "--sha256",
        type=sha256,
        metavar="DIGEST",
        help="of a NAME's file: all 64 digits, where --list shows none",
    )
    add("--licence", help="licence of the weights, where the checkpoint does not name it")
    add("--photos", type=Path, default=SAMPLE_PHOTOS, help="folder of photos to prove the file on")
    add("--count", type=int, default=8, help="how many of them (default 8)")
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the command that the arguments name."""
    if args.list:
        print_text(format_list())
    elif args.models:
        print_text(format_models())
    elif args.int8:
        run_int8(args)
    elif args.xfeat:
        for path in export_xfeat(args.out or DEFAULT_MODEL.parent):
            print_lines(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
    else:
        with tempfile.TemporaryDirectory() as folder:
            if args.name:
                prepare(args, Path(folder))
            (run_backbone if args.backbone else run_checkpoint)(args)


def main(argv: list[str] | None = None) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    if (args.name or args.checkpoint or args.backbone) and not args.out:
        parser.error("NAME, --checkpoint and --backbone need --out")
    if args.sha256 and not args.name:
        parser.error("--sha256 needs NAME")
    if args.count < 1:
        parser.error("--count must be at least 1")
    if args.backbone and not (args.map and args.mean and args.std and args.longest_side):
        parser.error("--backbone needs --map, --mean, --std and --size")
    return exit_code(
        lambda: run(args),
        OSError,
        ValueError,
        BadBackbone,
        BadCheckpoint,
        BadPhoto,
        BadModel,
        BadRecipe,
        DownloadFailed,
        Missing,
        ParityError,
    )


if __name__ == "__main__":
    run_command(main)
