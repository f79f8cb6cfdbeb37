"""Train, score and time ways of decoding on one short budget, one after the other.

    python -m benchmarks.decodings train CONFIG OUT [--steps 300] [--only NAME ...]
    python -m benchmarks.decodings cost CONFIG OUT SLIDE X Y
    python -m benchmarks.decodings table OUT

from the root of the checkout. CONFIG is ``benchmarks/decodings/config.toml`` or another
training's: its data, model, augmentation and rates are used. Run ``train`` again after an
interruption to go on. SLIDE is one of 0.25 µm/px, X and Y a corner in its level-0 pixels. Writes
``OUT/results.json``.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any


def main() -> None:
    """Do what is asked for."""
    os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decodings")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train")
    cost = commands.add_parser("cost")
    table = commands.add_parser("table")
    for command in (train, cost):
        command.add_argument("config", type=Path)
    for command in (train, cost, table):
        command.add_argument("out", type=Path)
    train.add_argument("--steps", type=int, default=300)
    train.add_argument("--only", nargs="+", default=None)
    cost.add_argument("slide")
    cost.add_argument("x", type=int)
    cost.add_argument("y", type=int)
    given = parser.parse_args()
    results = given.out / "results.json"
    known: dict[str, Any] = json.loads(results.read_text()) if results.exists() else {}
    if given.command == "train":
        from benchmarks.decodings.stages import train_all

        train_all(given.config, given.out, given.steps, given.only, known)
    elif given.command == "cost":
        from benchmarks.decodings.stages import cost_all

        cost_all(given.config, given.out, (given.slide, given.x, given.y), known)
    else:
        from benchmarks.decodings.table import print_table

        print_table(known)


if __name__ == "__main__":
    main()
