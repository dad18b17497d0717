"""Makes images that carry fingerprints, as PNG files with a list of what each of them carries."""

import argparse
import sys
from collections.abc import Sequence

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.tflib.start import add_execution, quiet_tensorflow

EXAMPLE = """example:
  python3 run_generator.py generate-images --network=network-final.pkl --seeds=0-15 \\
      --fingerprint=0xcafe1234 --grid
"""


def seed_list(text: str) -> list[int]:
    """Parses `--seeds` into different seeds that NumPy's RandomState takes, in the order given."""
    seeds = list(dict.fromkeys(cli.number_list(text)))
    if max(seeds) >= 2**32:
        raise argparse.ArgumentTypeError(f"{max(seeds)} is too large: seeds end at {2**32 - 1}")
    return seeds


def build_parser() -> argparse.ArgumentParser:
    """The command line of this file."""
    parser = cli.ArgumentParser(description=__doc__, epilog=EXAMPLE)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    images = commands.add_parser(
        "generate-images",
        help="write one PNG file per seed, and fingerprints.jsonl beside them",
        description="Writes seed0000.png, ... and fingerprints.jsonl into a new numbered folder\n"
        "under --result-dir and prints the folder's name. The same seeds give the same pictures.\n"
        "An instance, which has one fingerprint in its weights, makes the pictures that its\n"
        "snapshot makes with that fingerprint, and no fingerprints.jsonl: it does not know it.",
        epilog=EXAMPLE,
    )
    images.set_defaults(function=generate_images)
    images.add_argument(
        "--network", required=True, metavar="PKL", help="snapshot: a file or an https URL"
    )
    images.add_argument(
        "--seeds", required=True, type=seed_list, metavar="LIST", help="0-63, 1,2,5 or a mixture"
    )
    images.add_argument(
        "--result-dir",
        default="results",
        metavar="DIR",
        help="where the numbered folder is made (default: results)",
    )
    cli.add_boolean(
        images,
        "--identical-latent",
        default=False,
        help="all images share the latent of the first seed",
    )
    cli.add_boolean(
        images,
        "--identical-watermark",
        default=False,
        help="all images share the fingerprint of the first seed",
    )
    images.add_argument(
        "--fingerprint",
        metavar="HEX|BITS",
        help="the fingerprint that all images carry: as many characters 0/1 as the network has "
        "bits, or a quarter as many hex digits (default: drawn by seed)",
    )
    images.add_argument("--grid", action="store_true", help="write grid.png as well")
    images.add_argument(
        "--minibatch",
        type=cli.positive_int,
        default=16,
        metavar="N",
        help="images per step, on all GPUs together (default: 16)",
    )
    images.add_argument(
        "--num-gpus", type=int, metavar="N", help="GPUs to use (default: all there are)"
    )
    images.add_argument(
        "--truncation-psi", type=float, metavar="X", help="accepted, but without effect"
    )
    add_execution(images)
    images.add_verbose()
    return parser


def generate_images(args: argparse.Namespace) -> None:
    """The command `generate-images`."""
    import numpy as np
    from tqdm import tqdm

    from dnnlib.image_grid import grid_size, save_grid, save_png
    from dnnlib.run_dir import create_run_dir
    from dnnlib.tflib.devices import local_devices
    from dnnlib.tflib.machine import resolve_execution, resolve_num_gpus
    from fingerprints.bits import parse_fingerprint
    from fingerprints.image_manifest import FILE_NAME, ManifestEntry, write_manifest
    from training.models.functions import make_generator
    from training.models.seeds import sample_by_seed
    from training.models.snapshot import load_networks
    from training.networks.plain_generator import PlainGenerator

    if args.truncation_psi is not None:
        print("--truncation-psi has no effect: these networks have no truncation", file=sys.stderr)

    plan = resolve_num_gpus(args.num_gpus)
    execution = resolve_execution(args.ops, args.precision)
    devices = local_devices(plan.num_gpus)
    with devices.strategy.scope():
        generator = load_networks(args.network, only="generator").generator
    is_instance = isinstance(generator, PlainGenerator)
    if is_instance and args.fingerprint is not None:
        raise UserError(
            f"--fingerprint with --network={args.network}: this is an instance, whose fingerprint "
            "is part of its weights; leave the flag out, or name the snapshot it was made from"
        )
    if is_instance and args.identical_watermark:
        print(
            "--identical-watermark has no effect: an instance has one fingerprint", file=sys.stderr
        )
    fingerprint = None
    if args.fingerprint is not None:
        try:
            fingerprint = parse_fingerprint(args.fingerprint, generator.fingerprint_size)
        except UserError as error:
            raise UserError(f"--fingerprint with --network={args.network}: {error}") from error
    generate = make_generator(generator, min(args.minibatch, len(args.seeds)), execution, devices)
    batches = sample_by_seed(
        args.seeds,
        latent_size=generator.latent_size,
        fingerprint_size=generator.fingerprint_size,
        noise_shapes=generator.noise_shapes,
        identical_latent=args.identical_latent,
        identical_watermark=args.identical_watermark and not is_instance,
        fingerprint=fingerprint,
        minibatch=args.minibatch,
    )

    size = grid_size(generator.resolution, len(args.seeds))
    num_grid = min(len(args.seeds), size[0] * size[1]) if args.grid else 0
    grid: list[np.ndarray] = []
    entries: list[ManifestEntry] = []
    folder = create_run_dir(args.result_dir, "generate-images")
    try:
        with tqdm(total=len(args.seeds), unit="image", file=sys.stderr, disable=None) as progress:
            for inputs in batches:
                for seed, bits, image in zip(
                    inputs.seeds, inputs.fingerprints, generate(inputs), strict=True
                ):
                    name = f"seed{seed:04d}.png"
                    save_png(image, folder / name)
                    entries.append(ManifestEntry(name, seed, tuple(bits.tolist())))
                    if len(grid) < num_grid:
                        grid.append(image)
                    progress.update()
    finally:
        # Images that an interrupted run has left must not lose their fingerprints.
        if not is_instance:
            write_manifest(folder / FILE_NAME, entries)
    if grid:
        save_grid(np.stack(grid), folder / "grid.png", size)
        if num_grid < len(args.seeds):
            print(f"grid.png holds the first {num_grid} images", file=sys.stderr)
    print(folder)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line `argv` (without the program's name); None means sys.argv."""
    args = build_parser().parse_args(argv)
    quiet_tensorflow(args.verbose)
    args.function(args)


if __name__ == "__main__":
    cli.run(main)
