"""`make bench`: measured speed of training and of statistics.

Other benches are asked for by name: `accuracy` (a short real run beside the plain loop's), `gpu` (all that needs a
GPU), `scale` (every command on a study of 100,000 runs), `characteristics` and `verdicts` (how often the statistics and
`harness verify` err, by simulation, in minutes).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import accuracy, characteristics, engines, gpu, scale, training, verdicts
from harness.files import write_json


def _statistics(options: argparse.Namespace) -> Any:  # noqa: ANN401 - whatever JSON holds
    timings = engines.measure(options.rounds)
    engines.show(timings)
    return engines.as_json(timings)


def _characteristics(options: argparse.Namespace) -> Any:  # noqa: ANN401 - whatever JSON holds
    rows = list(characteristics.measure(options.draws))
    characteristics.show(rows)
    return characteristics.as_json(rows)


BENCHES: dict[str, Callable[[argparse.Namespace], Any]] = {
    "training": training.main,
    "statistics": _statistics,
    "characteristics": _characteristics,
    "verdicts": verdicts.main,
    "accuracy": accuracy.main,
    "gpu": gpu.main,
    "scale": scale.main,
}
DEFAULT = ("training", "statistics")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    each = parser.add_subparsers(dest="bench", metavar="|".join(BENCHES))

    def add(name: str, told: str | None) -> argparse.ArgumentParser:
        return each.add_parser(name, help=(told or "").partition("\n")[0], description=told)

    training.add_options(add("training", training.__doc__))
    add("statistics", engines.__doc__).add_argument(
        "--rounds", type=int, default=31, help="fits of each engine (default 31)"
    )
    add("characteristics", characteristics.__doc__).add_argument(
        "--draws", type=int, default=20_000, help="data sets a row (default 20000)"
    )
    verdicts.add_options(add("verdicts", verdicts.__doc__))
    accuracy.add_options(add("accuracy", accuracy.__doc__))
    gpu.add_options(add("gpu", gpu.__doc__))
    scale.add_options(add("scale", scale.__doc__))
    return parser


def main() -> None:
    """Measure and print."""
    parser = _parser()
    options = parser.parse_args()
    # without a name: each of the default ones with its default options
    asked = [options] if options.bench else [parser.parse_args([name]) for name in DEFAULT]
    found = {each.bench: BENCHES[each.bench](each) for each in asked}
    if options.json:
        write_json(options.json, found)


if __name__ == "__main__":
    main()
