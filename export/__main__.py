"""python -m export --checkpoint FILE --out MODEL.onnx | --int8 MODEL.onnx | --xfeat | --list | --download NAME"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from functools import partial
from pathlib import Path

from tqdm import tqdm

from command import run_command
from extractor import DEFAULT_MODEL, SUFFIXES, BadModel, BadPhoto, int8_beside
from model import BadCheckpoint, load_checkpoint
from model.published import DownloadFailed, download, format_list

from .learn import whiten_on
from .matching_models import Missing, export_xfeat
from .parity import ParityError, check_parity, format_table
from .quantise import CALIBRATION_PHOTOS, TEST_PHOTOS, quantise_int8
from .recipe import BadRecipe, choose_recipe
from .to_onnx import export_onnx

SAMPLE_PHOTOS = Path(__file__).resolve().parent.parent / "gallery" / "photos"


def sample(folder: Path, count: int) -> list[Path]:
    """`count` photos spread evenly over a folder (fewer if it has fewer)."""
    found = (
        sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
        if folder.is_dir()
        else []
    )
    return found[:: max(1, len(found) // max(1, count))][:count]


def run_export(args: argparse.Namespace) -> None:
    photos = sample(args.photos, args.count)
    if not photos:
        raise BadRecipe(f"there are no photos for the parity check in {args.photos}")
    network, provenance = load_checkpoint(args.checkpoint)
    if args.licence:
        provenance = dataclasses.replace(provenance, licence=args.licence)
    if args.whiten_on:
        recipe = choose_recipe(provenance, args.longest_side, args.scales)
        shown = partial(tqdm, desc="learning a whitening", disable=None)
        recipe = whiten_on(
            network, provenance, recipe, args.whiten_on, args.groups, args.dim, shown
        )
    else:
        recipe = choose_recipe(provenance, args.longest_side, args.scales, args.dim)
    scales = ", ".join(f"{scale:.4g}" for scale in recipe.scales)
    print(
        f"{network.architecture}, GeM p = {float(network.pool.p.detach()):.3f}, {network.output_dim} dimensions"
    )
    print(f"longest side {recipe.longest_side}, scales {scales}")
    if recipe.whitening:
        print(f"whitening learned afterwards, to {len(recipe.whitening.projection)} dimensions")
    export_onnx(
        network,
        provenance,
        recipe,
        args.out,
        accept=lambda path: print(format_table(check_parity(network, path, photos))),
    )
    print(f"wrote {args.out} ({args.out.stat().st_size / 1e6:.1f} MB)")


def run_int8(args: argparse.Namespace) -> None:
    photos = sample(args.photos, CALIBRATION_PHOTOS + TEST_PHOTOS)
    result = quantise_int8(
        args.int8, photos, lambda blocks: tqdm(blocks, desc="sensitivity", disable=None)
    )
    print("block          harm (1 - median cosine, this block alone in int8)")
    for block, harm in list(result.harm.items())[:8]:
        print(f"{block:13s} {harm:8.5f}{'  kept in float' if block in result.kept_float else ''}")
    out = args.out or int8_beside(args.int8)
    out.write_bytes(result.model)
    print(f"median cosine with float32 on {TEST_PHOTOS} other photos: {result.cosine:.4f}")
    print(f"wrote {out} ({len(result.model) / 1e6:.1f} MB)")


def scales(text: str) -> tuple[float, ...] | str:
    """ "published", or numbers with commas between."""
    if text == "published":
        return text
    values = tuple(float(part) for part in text.split(","))
    if not values or not all(0.1 <= value <= 4 for value in values):
        raise argparse.ArgumentTypeError("scales are numbers from 0.1 to 4")
    return values


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m export", description="Turn a descriptor network into one ONNX file."
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--checkpoint",
        type=Path,
        help="file of the network: safetensors, cirtorch, SOLAR, torchvision, ONNX",
    )
    what.add_argument(
        "--int8", type=Path, metavar="MODEL", help="exported model to make an int8 model from"
    )
    what.add_argument(
        "--xfeat", action="store_true", help="the models of learned matching, XFeat and LighterGlue"
    )
    what.add_argument("--list", action="store_true", help="the published nets")
    what.add_argument("--download", metavar="NAME", help="fetch a published net and verify it")
    parser.add_argument(
        "--out",
        type=Path,
        help="ONNX file to write (--int8: beside the model); with --xfeat and --download the folder",
    )
    parser.add_argument(
        "--longest-side", type=int, help="pixels (default: what the checkpoint was made for)"
    )
    parser.add_argument(
        "--scales",
        type=scales,
        default=(1.0,),
        help='e.g. 1,0.7071,0.5, or "published" (default 1)',
    )
    parser.add_argument(
        "--dim", type=int, help="keep so many dimensions of a whitening learned afterwards"
    )
    parser.add_argument(
        "--whiten-on", type=Path, metavar="FOLDER", help="learn a whitening from these photos (PCA)"
    )
    parser.add_argument(
        "--groups", type=Path, help="with --whiten-on: JSON of photos of the same thing, for Lw"
    )
    parser.add_argument(
        "--licence", help="licence of the weights, where the checkpoint does not name it"
    )
    parser.add_argument(
        "--photos", type=Path, default=SAMPLE_PHOTOS, help="folder of photos for the parity check"
    )
    parser.add_argument("--count", type=int, default=8, help="how many of them (default 8)")
    args = parser.parse_args(argv)
    if args.checkpoint and not args.out:
        parser.error("--checkpoint needs --out")
    try:
        if args.list:
            print(format_list())
        elif args.int8:
            run_int8(args)
        elif args.xfeat:
            for path in export_xfeat(args.out or DEFAULT_MODEL.parent):
                print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
        elif args.download:
            print(download(args.download, args.out or Path(".")))
        else:
            run_export(args)
    except BrokenPipeError:
        raise  # for run_command
    except (
        OSError,
        ValueError,
        BadCheckpoint,
        BadPhoto,
        BadModel,
        BadRecipe,
        DownloadFailed,
        Missing,
        ParityError,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    run_command(main)
