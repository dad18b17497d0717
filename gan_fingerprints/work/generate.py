"""Makes images that carry fingerprints, as PNG files with a list of what each of them carries."""

import argparse
import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dnnlib.errors import UserError
from dnnlib.format import printable
from dnnlib.image_grid import grid_size, save_grid, save_png
from dnnlib.run_dir import LOG, append_line, create_run_dir, mark_finished
from dnnlib.tflib.devices import local_devices
from dnnlib.tflib.machine import resolve_execution, resolve_num_gpus
from fingerprints.bits import parse_fingerprint
from fingerprints.image_manifest import FILE_NAME, ManifestEntry, listing
from training.models.functions import inputs_by_seed, make_generator
from training.models.seeds import GeneratorInputs
from training.models.snapshot import load_networks
from training.networks.plain_generator import PlainGenerator


def generate_images(args: argparse.Namespace) -> None:
    """The command `generate-images`."""
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
    batches = inputs_by_seed(
        generator,
        args.seeds,
        identical_latent=args.identical_latent,
        identical_watermark=args.identical_watermark and not is_instance,
        fingerprint=fingerprint,
        minibatch=args.minibatch,
    )

    size = grid_size(generator.resolution, len(args.seeds))
    num_grid = min(len(args.seeds), size[0] * size[1]) if args.grid else 0
    folder = create_run_dir(args.result_dir, "generate-images")
    append_line(folder / LOG, _description(args))
    manifest = None if is_instance else folder / FILE_NAME
    grid = _write_images(generate, batches, folder, manifest, num_grid, len(args.seeds))
    if grid:
        save_grid(np.stack(grid), folder / "grid.png", size)
        if num_grid < len(args.seeds):
            print(f"grid.png holds the first {num_grid} images", file=sys.stderr)
    append_line(folder / LOG, f"wrote {len(args.seeds)} images")
    mark_finished(folder)
    print(folder)


def _description(args: argparse.Namespace) -> str:
    """What log.txt says of a run at its beginning."""
    seeds = f"{args.seeds[0]} to {args.seeds[-1]}" if len(args.seeds) > 1 else f"{args.seeds[0]}"
    flags = {
        "--identical-latent": args.identical_latent,
        "--identical-watermark": args.identical_watermark,
        "--fingerprint": args.fingerprint,
    }
    given = "".join(f" {name}={value}" for name, value in flags.items() if value)
    return f"generate-images --network={args.network}, {len(args.seeds)} seeds, {seeds}{given}"


def _write_images(
    generate: Callable[[GeneratorInputs], np.ndarray],
    batches: Iterable[GeneratorInputs],
    folder: Path,
    manifest: Path | None,
    num_grid: int,
    total: int,
) -> list[np.ndarray]:
    """Writes the images, the line of each in the manifest before it; returns the first of them.

    Whatever stops it, no image is without its fingerprint; stderr says what is there.
    """
    grid: list[np.ndarray] = []
    done = 0
    try:
        with tqdm(total=total, unit="image", file=sys.stderr, disable=None) as progress:
            for inputs in batches:
                for seed, bits, image in zip(
                    inputs.seeds, inputs.fingerprints, generate(inputs), strict=True
                ):
                    name = f"seed{seed:04d}.png"
                    entry = ManifestEntry(name, seed, tuple(bits.tolist()))
                    with listing(manifest, entry) if manifest else nullcontext():
                        save_png(image, folder / name)
                    done += 1
                    if len(grid) < num_grid:
                        grid.append(image)
                    progress.update()
    except BaseException:
        text = f"{printable(folder)}: {done} of {total} images are there"
        print(text + (f", listed in {FILE_NAME}" if manifest and done else ""), file=sys.stderr)
        raise
    return grid
