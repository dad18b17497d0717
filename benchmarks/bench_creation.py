"""How fast are data sets made, and how much of a disk do they take?

Made-up pictures, like photographs, become a data set of 128x128: by a loop that decodes, crops,
resizes and compresses with Pillow; by a loop that writes the published layout; and by the command's
own work. Processor seconds compare work, whatever else runs on the machine; seconds compare what
one waits for, and mean little on a busy one.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import report
from dnnlib import cli

KINDS = {"178x218 PNG": ((178, 218), "png", 400), "1024x1024 JPEG": ((1024, 1024), "jpg", 100)}
_MEASURE = cli.deferred("benchmarks.measure_creation:measure")


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = report.build_parser(__doc__)
    parser.add_argument("--images", type=cli.positive_int, metavar="N", help="of each kind")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = build_parser().parse_args(argv)
    cores = len(os.sched_getaffinity(0))
    figures, rows = {}, []
    for kind, (size, suffix, usual) in KINDS.items():
        found = report.with_tensorflow(_MEASURE, size, suffix, args.images or usual)
        figures[kind] = found
        alone = found["pillow"]["cpu"]
        for way, name in (("pillow", "Pillow alone"), ("plain", "loop, published layout"),
                          ("ours", "the command")):  # fmt: skip
            cpu, wall = found[way]["cpu"], found[way]["wall"]
            num_bytes = found[way].get("bytes")
            read = found.get(f"read_{way}")
            rows.append(
                [
                    kind,
                    name,
                    f"{1 / cpu:.0f}",
                    f"{alone / cpu:.2f}",
                    f"{1 / wall:.0f}",
                    f"{num_bytes / 1000:.1f}" if num_bytes else "",
                    f"{1 / read['cpu']:.0f}" if read else "",
                ]
            )
    head = ["pictures", "way", "per processor second", "of Pillow's", "per second",
            "kB per image", "read per processor second"]  # fmt: skip
    load = os.getloadavg()[0]
    text = (
        f"{report.table(head, rows)}\n\n"
        f"Data sets of 128x128 from made-up pictures; {cores} cores, load of the machine"
        f" {load:.1f}."
    )
    report.publish("creation", text, figures | {"load": load}, args.out)


if __name__ == "__main__":
    cli.run(main)
