"""Makes images that carry fingerprints, as PNG files with a list of what each of them carries."""

import argparse
import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dnnlib.errors import UserError
from dnnlib.format import printable
from dnnlib.image_grid import grid_size, save_grid
from dnnlib.run_dir import LOG, append_line, create_run_dir, mark_finished
from dnnlib.tflib.devices import local_devices
from dnnlib.tflib.machine import resolve_execution, resolve_num_gpus
from fingerprints.bits import parse_fingerprint
from fingerprints.image_manifest import FILE_NAME, ManifestEntry, listing
from gan_fingerprints.work.credentials import Save, make_saver
from training.models.functions import inputs_by_seed, make_generator, num_classes
from training.models.seeds import GeneratorInputs
from training.models.snapshot import load_networks
from training.networks.stylegan2 import LatentSynthesizer, StyleGAN2Generator
from training.networks.table import AnyGenerator, Fingerprinted


def generate_images(args: argparse.Namespace) -> None:
    """The command `generate-images`."""
    plan = resolve_num_gpus(args.num_gpus)
    execution = resolve_execution(args.ops, args.precision)
    devices = local_devices(plan.num_gpus)
    with devices.strategy.scope():
        generator = load_networks(args.network, only="generator").generator
    takes_bits = isinstance(generator, Fingerprinted)
    truncation = stylegan2_choices(args, generator)
    fingerprint = _fingerprint(args, generator)
    save = make_saver(args)
    minibatch = min(args.minibatch, len(args.seeds))
    generate = make_generator(generator, minibatch, execution, devices, **truncation)
    batches = inputs_by_seed(
        generator,
        args.seeds,
        noise_mode=args.noise_mode,
        class_index=args.class_index,
        identical_latent=args.identical_latent,
        identical_watermark=args.identical_watermark and takes_bits,
        fingerprint=fingerprint,
        minibatch=args.minibatch,
    )

    size = grid_size(generator.resolution, len(args.seeds))
    num_grid = min(len(args.seeds), size[0] * size[1]) if args.grid else 0
    folder = create_run_dir(args.result_dir, "generate-images")
    append_line(folder / LOG, _description(args))
    manifest = folder / FILE_NAME if takes_bits else None
    grid = _write_images(generate, save, batches, folder, manifest, num_grid, len(args.seeds))
    if grid:
        save_grid(np.stack(grid), folder / "grid.png", size)
        if num_grid < len(args.seeds):
            print(f"grid.png holds the first {num_grid} images", file=sys.stderr)
    append_line(folder / LOG, f"wrote {len(args.seeds)} images")
    mark_finished(folder)
    print(folder)


def stylegan2_choices(args: argparse.Namespace, generator: AnyGenerator) -> dict[str, Any]:
    """Checks the flags of plain StyleGAN2 against a generator.

    Returns:
        The truncation, as `make_generator` takes it.

    Raises:
        UserError: a class that the generator has not, or none where it has some.
    """
    classes = num_classes(generator)
    if args.class_index is None and classes:
        raise UserError(
            f"--network={args.network} makes pictures of {classes} classes; name one: "
            f"--class=0 to --class={classes - 1}"
        )
    if args.class_index is not None and args.class_index >= classes:
        raise UserError(
            f"--class={args.class_index} with --network={args.network}: "
            + (f"its classes are 0 to {classes - 1}" if classes else "it knows no classes")
        )
    if args.truncation_psi is None:
        return {}
    if not isinstance(generator, LatentSynthesizer):
        print("--truncation-psi has no effect: these networks have no truncation", file=sys.stderr)
        return {}
    return {"truncation_psi": args.truncation_psi}


def _fingerprint(args: argparse.Namespace, generator: AnyGenerator) -> np.ndarray | None:
    """The fingerprint that the user chose, [B]; None: drawn by seed, or part of the weights.

    Raises:
        UserError: text that is none, or a generator that takes none.
    """
    if isinstance(generator, StyleGAN2Generator):
        kind, has = "plain StyleGAN2, which takes no fingerprint", "plain StyleGAN2 has none"
        cure = "leave the flag out"
    else:
        kind = "an instance, whose fingerprint is part of its weights"
        has, cure = "an instance has one fingerprint", "leave the flag out"
        cure += ", or name the snapshot it was made from"
    takes_bits = isinstance(generator, Fingerprinted)
    if args.fingerprint is not None and not takes_bits:
        raise UserError(f"--fingerprint with --network={args.network}: this is {kind}; {cure}")
    if args.identical_watermark and not takes_bits:
        print(f"--identical-watermark has no effect: {has}", file=sys.stderr)
    if args.fingerprint is None:
        return None
    try:
        return parse_fingerprint(args.fingerprint, generator.fingerprint_size)
    except UserError as error:
        raise UserError(f"--fingerprint with --network={args.network}: {error}") from error


def _description(args: argparse.Namespace) -> str:
    """What log.txt says of a run at its beginning."""
    seeds = f"{args.seeds[0]} to {args.seeds[-1]}" if len(args.seeds) > 1 else f"{args.seeds[0]}"
    flags = {
        "--identical-latent": args.identical_latent,
        "--identical-watermark": args.identical_watermark,
        "--fingerprint": args.fingerprint,
        "--truncation-psi": args.truncation_psi,
        "--class": args.class_index,
        "--noise-mode": args.noise_mode,
    }
    given = "".join(
        f" {name}={value}" for name, value in flags.items() if value not in (None, False)
    )
    return f"generate-images --network={args.network}, {len(args.seeds)} seeds, {seeds}{given}"


def _write_images(
    generate: Callable[[GeneratorInputs], np.ndarray],
    save: Save,
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
                        save(image, folder / name)
                    done += 1
                    if len(grid) < num_grid:
                        grid.append(image)
                    progress.update()
    except BaseException:
        text = f"{printable(folder)}: {done} of {total} images are there"
        print(text + (f", listed in {FILE_NAME}" if manifest and done else ""), file=sys.stderr)
        raise
    return grid
