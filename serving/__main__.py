"""python -m serving: print the reference of all settings in Markdown."""

from __future__ import annotations

from command import print_text, run_command

from .settings import reference


def main() -> int:
    print_text(reference())
    return 0


if __name__ == "__main__":
    run_command(main)
