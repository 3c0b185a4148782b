"""python -m extractor: print the table of the formats that are read, in Markdown."""

from __future__ import annotations

from command import print_text, run_command

from .photo.formats import table


def main() -> int:
    print_text(table())
    return 0


if __name__ == "__main__":
    run_command(main)
