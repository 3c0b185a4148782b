"""python -m export --checkpoint weights.safetensors --out model.onnx"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from extractor import SUFFIXES
from model import BadCheckpoint, load_checkpoint

from .parity import ParityError, check_parity, format_table
from .to_onnx import export_onnx

SAMPLE_PHOTOS = Path(__file__).resolve().parent.parent / "gallery" / "photos"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m export", description="Turn a descriptor network into one ONNX file."
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="safetensors file of the network")
    parser.add_argument("--out", type=Path, required=True, help="ONNX file to write")
    parser.add_argument("--licence", help="licence of the weights, where the checkpoint does not name it")
    parser.add_argument("--photos", type=Path, default=SAMPLE_PHOTOS, help="folder of photos for the parity check")
    parser.add_argument("--count", type=int, default=8, help="how many of them (default 8)")
    args = parser.parse_args(argv)

    found = sorted(p for p in args.photos.iterdir() if p.suffix.lower() in SUFFIXES) if args.photos.is_dir() else []
    if not found:
        print(f"error: no photos for the parity check in {args.photos}", file=sys.stderr)
        return 2
    photos = found[:: max(1, len(found) // args.count)][: args.count]
    try:
        network, provenance = load_checkpoint(args.checkpoint)
        if args.licence:
            provenance = dataclasses.replace(provenance, licence=args.licence)
        print(f"{network.architecture}, GeM p = {float(network.pool.p.detach()):.3f}, {network.output_dim} dimensions")
        export_onnx(
            network, provenance, args.out, accept=lambda path: print(format_table(check_parity(network, path, photos)))
        )
    except (FileNotFoundError, BadCheckpoint, ParityError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {args.out} ({args.out.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
