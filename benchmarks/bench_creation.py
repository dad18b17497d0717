"""How fast are data sets made, how much of a disk do they take, and how much memory?

Made-up pictures, like photographs, become a data set of 128x128: by a loop that decodes, crops,
resizes and compresses with Pillow; by as many such loops as there are cores, since a core may be
slower when all are busy; by one that writes the published layout; and by the command's own work.
Processor seconds compare work, whatever else runs on the machine; seconds compare what one waits
for, and mean little on a busy one. Memory is that of the command for tiny images, of which two
numbers show what each image costs.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import report
from dnnlib import cli

KINDS = {"178x218 PNG": ((178, 218), "png", 240), "1024x1024 JPEG": ((1024, 1024), "jpg", 240)}
WAYS = {"pillow": "Pillow alone", "pillows": "Pillow alone, a process per core",
        "plain": "loop, published layout", "ours": "the command"}  # fmt: skip
HEAD = ["pictures", "way", "per processor second", "of Pillow's", "per second",
        "of Pillow's x cores", "of a Pillow per core", "kB per image",
        "read per processor second"]  # fmt: skip
TINY = (20_000, 200_000)
_MEASURE = cli.deferred("benchmarks.measure_creation:measure")
_WRITE_TINY = cli.deferred("benchmarks.measure_creation:write_tiny")
_MEASURE_TINY = cli.deferred("benchmarks.measure_creation:measure_tiny")


def build_parser() -> cli.ArgumentParser:
    """The command line."""
    parser = report.build_parser(__doc__)
    parser.add_argument("--images", type=cli.positive_int, metavar="N", help="of each kind")
    parser.add_argument("--rounds", type=cli.positive_int, default=5, metavar="N")
    parser.add_argument(
        "--tiny",
        type=cli.non_negative_int,
        nargs=2,
        default=TINY,
        metavar="N",
        help="tiny images whose memory is measured, two numbers (default: 20000 200000; 0 0: none)",
    )
    return parser


def time_ways(images: int | None, rounds: int) -> tuple[dict[str, Any], list[list[str]]]:
    """Figures, and the rows of their table."""
    cores = len(os.sched_getaffinity(0))
    figures, rows = {}, []
    for kind, (size, suffix, usual) in KINDS.items():
        found = report.in_process(_MEASURE, size, suffix, images or usual, rounds)
        figures[kind] = found
        alone = found["pillow"]
        for way, name in WAYS.items():
            cpu, wall = found[way]["cpu"], found[way]["wall"]
            num_bytes = found[way].get("bytes")
            read = found.get(f"read_{way}")
            is_here = way != "pillows"  # other processes' seconds are not counted
            rows.append(
                [
                    kind,
                    name,
                    f"{1 / cpu:.0f}" if is_here else "",
                    f"{alone['cpu'] / cpu:.2f}" if is_here else "",
                    f"{1 / wall:.0f}",
                    f"{alone['wall'] / wall / cores:.2f}",
                    f"{found['pillows']['wall'] / wall:.2f}",
                    f"{num_bytes / 1000:.1f}" if num_bytes else "",
                    f"{1 / read['cpu']:.0f}" if read else "",
                ]
            )
    return figures, rows


def measure_memory(counts: Sequence[int]) -> dict[int, dict[str, float]]:
    """GiB of the command by the number of tiny images."""
    found = {}
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "src"
            source.mkdir()
            report.in_process(_WRITE_TINY, str(source), count)
            found[count] = report.in_process(_MEASURE_TINY, str(source), str(Path(folder) / "out"))
    return found


def describe_memory(found: dict[int, dict[str, float]]) -> str:
    """The table, and what follows from it."""
    rows = [
        [str(count), f"{1024 * figures['before']:.0f}", f"{1024 * figures['peak']:.0f}"]
        for count, figures in found.items()
    ]
    (few, small), (many, large) = found.items()
    each = (large["peak"] - small["peak"]) * 2**30 / (many - few)
    return (
        f"{report.table(['tiny images', 'MiB before', 'MiB at most'], rows)}\n\n"
        f"{each:.0f} bytes per image: its name, and its place in the order."
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    args = build_parser().parse_args(argv)
    load = os.getloadavg()[0]
    figures, rows = time_ways(args.images, args.rounds)
    text = (
        f"{report.table(HEAD, rows)}\n\n"
        f"Data sets of 128x128 from made-up pictures; {len(os.sched_getaffinity(0))} cores, load of"
        f" the machine {load:.1f} before, {os.getloadavg()[0]:.1f} after."
    )
    if all(args.tiny) and args.tiny[0] != args.tiny[1]:
        memory = measure_memory(args.tiny)
        figures["memory"] = {str(count): found for count, found in memory.items()}
        text += f"\n\n{describe_memory(memory)}"
    report.publish("creation", text, figures | {"load": load}, args.out)


if __name__ == "__main__":
    cli.run(main)
