"""`make bench`: measured speed of training and of statistics; and, asked for by name, how often the statistics err.

Without a name: training and statistics. `python -m bench characteristics` simulates false alarms and coverage, which
takes minutes.
"""

from __future__ import annotations

import argparse
import json

from bench import characteristics, engines

DEFAULT = ("training", "statistics")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", nargs="*", metavar="training|statistics|characteristics", default=DEFAULT)
    parser.add_argument("--epochs", type=int, default=7, help="training: epochs of each loop (default 7)")
    parser.add_argument("--rounds", type=int, default=31, help="statistics: fits of each engine (default 31)")
    parser.add_argument("--draws", type=int, default=20_000, help="characteristics: data sets a row (default 20000)")
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    options = parser.parse_args()
    unknown = set(options.what) - {*DEFAULT, "characteristics"}
    if unknown:
        parser.error(f"expected training, statistics or characteristics, found {', '.join(sorted(unknown))}")
    found: dict[str, object] = {}
    if "training" in options.what:
        from bench import training  # torch is an extra: statistics need none

        images = training.measure(options.epochs)
        found["training"] = images
        if not options.json:
            training.show(images)
    if "statistics" in options.what:
        timings = engines.measure(options.rounds)
        found["statistics"] = engines.as_json(timings)
        if not options.json:
            engines.show(timings)
    if "characteristics" in options.what:
        rows = list(characteristics.measure(options.draws))
        found["characteristics"] = characteristics.as_json(rows)
        if not options.json:
            characteristics.show(rows)
    if options.json:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
