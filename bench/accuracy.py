"""One short real run: accuracy of ours and of the plain loop on the same images, at the same seed.

Both start from the same weights and see the same split; the plain loop draws its own order and augmentation. So the
two agree about as well as two seeds do, and a mistake in the loop (loss, schedule, augmentation) would show as a gap.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from bench.runs import changed, of_profile
from bench.show import table
from bench.sides import Setting, Side
from harness.study.spec import BASELINE, Architecture

MODULES = {"ours": "bench.ours", "plain": "bench.plain"}
CAUTION = "JPEG re-encodings, lossy: not a CIFAR-10 result"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench accuracy`."""
    parser.add_argument("--images", required=True, help="folder or tar archive: train/CLASS/*, test/CLASS/*")
    parser.add_argument("--train-images", type=int, default=5000, help="training images (default 5000)")
    parser.add_argument("--validation-images", type=int, default=1000, help="validation images (default 1000)")
    parser.add_argument("--epochs", type=int, default=4, help="epochs, with the whole cosine schedule (default 4)")
    parser.add_argument("--seed", type=int, default=0, help="seed of both (default 0)")
    parser.add_argument("--width", type=int, default=64, help="channels of ResNet-18's first stage (default 64)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="default cpu")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")


def main(options: argparse.Namespace) -> dict[str, Any]:
    """Train both, an epoch each in turn, and print.

    Returns:
        What was trained, and by side the validation accuracy and seconds of each epoch, and the test accuracy after
        the last.
    """
    student: Architecture = "resnet18"
    blocks = {
        "dataset": {
            "name": "folder",
            "path": options.images,
            "train_images": options.train_images,
            "validation_images": options.validation_images,
        },
        "model": {"width": options.width},
        "optimisation": {"device": options.device, "precision": "fp32", "threads": options.threads},
    }
    spec = changed(of_profile("paper", BASELINE, student, student), blocks, options.epochs)
    spec = spec.model_copy(update={"seed": options.seed})
    with ExitStack() as opened:
        sides = {name: opened.enter_context(Side(module, Setting(spec=spec))) for name, module in MODULES.items()}
        epochs = [{name: side.do("epoch") for name, side in sides.items()} for _ in range(options.epochs)]
        tests = {name: side.do("test").value for name, side in sides.items()}
        machine = sides["ours"].do("stack").value
    found = {
        "machine": machine,
        "caution": CAUTION,
        "network": f"{student}, width {options.width}",
        "seed": options.seed,
        "train_images": options.train_images,
        "sides": {
            name: {
                "val_acc": [epoch[name].value for epoch in epochs],
                "seconds": [epoch[name].seconds for epoch in epochs],
                "test_acc_last": tests[name],
            }
            for name in MODULES
        },
    }
    _show(found)
    return found


def _show(found: Mapping[str, Any]) -> None:
    """Print the accuracies as Markdown."""
    print(f"{found['network']}, seed {found['seed']}, {found['train_images']} training images ({found['caution']})\n")
    ours, plain = (found["sides"][name] for name in MODULES)
    columns = (ours["val_acc"], plain["val_acc"], ours["seconds"], plain["seconds"])
    rows: list[list[str | float | None]] = [
        [str(epoch), _pct(mine), _pct(theirs), *seconds]
        for epoch, (mine, theirs, *seconds) in enumerate(zip(*columns, strict=True), 1)
    ]
    rows.append(["test", _pct(ours["test_acc_last"]), _pct(plain["test_acc_last"]), None, None])
    print(table(["epoch", "ours, accuracy", "plain, accuracy", "ours, s", "plain, s"], rows))


def _pct(share: float) -> str:
    return f"{100 * share:.2f}%"
