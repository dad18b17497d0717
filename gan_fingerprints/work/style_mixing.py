"""Pictures that mix the styles of two seeds (StyleGAN, arXiv 1812.04948, section 3.1)."""

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from dnnlib.errors import UserError
from dnnlib.image_grid import save_grid, save_png
from dnnlib.run_dir import LOG, append_line, create_run_dir, mark_finished
from dnnlib.tflib.execution import Execution
from dnnlib.tflib.machine import resolve_execution
from gan_fingerprints.work.generate import stylegan2_choices
from training.models.functions import fill_batch, inputs_by_seed, make_function, to_uint8
from training.models.snapshot import load_networks
from training.networks.adopted import AdoptedGenerator
from training.networks.stylegan2 import StyleGAN2Generator

_COL_STYLES = 7  # the first of them, by default


def mix_styles(args: argparse.Namespace) -> None:
    """The command `style-mixing-example`.

    Raises:
        UserError: a network without styles of latents, or layers that it has not.
    """
    execution = resolve_execution(args.ops, args.precision)
    generator = load_networks(args.network, only="generator").generator
    if isinstance(generator, AdoptedGenerator):
        raise UserError(
            f"--network={args.network}: an adopted generator mixes no styles here; name the file "
            "that it came in, or an instance of it"
        )
    if not isinstance(generator, StyleGAN2Generator):
        raise UserError(
            f"--network={args.network}: its styles carry the fingerprint, and its latent enters "
            "elsewhere; name a snapshot of plain StyleGAN2"
        )
    truncation = stylegan2_choices(args, generator)
    layers = _col_styles(args.col_styles, generator.synthesis.num_slots)
    rows, columns = args.row_seeds, args.col_seeds
    seeds = list(dict.fromkeys([*rows, *columns]))
    (inputs,) = inputs_by_seed(
        generator,
        seeds,
        noise_mode=args.noise_mode or "const",
        class_index=args.class_index,
        minibatch=len(seeds),
    )
    labels = tf.constant(inputs.labels) if generator.label_size else None
    styles = generator.map_latents(tf.constant(inputs.latents), labels, **truncation).numpy()
    names = [(seed, seed) for seed in seeds]
    names += [(row, column) for row in rows for column in columns if row != column]
    place = {seed: index for index, seed in enumerate(seeds)}
    mixed = np.stack([styles[place[row]] for row, _ in names])  # [N,L,D]
    for index, (_, column) in enumerate(names):
        mixed[index, layers] = styles[place[column], layers]
    which = [place[row] for row, _ in names]  # a picture has the noise of its row
    noise = [maps[which] for maps in inputs.noise]

    folder = create_run_dir(args.result_dir, "style-mixing-example")
    given = f"rows {rows}, columns {columns}, layers {layers}"
    append_line(folder / LOG, f"style-mixing-example --network={args.network}, {given}")
    images = _images(generator, mixed, noise, args.minibatch, execution)
    found = dict(zip(names, images, strict=True))
    for (row, column), image in found.items():
        save_png(image, folder / f"{row}-{column}.png")
    cells = [np.zeros_like(images[0]), *(found[column, column] for column in columns)]
    for row in rows:
        cells += [found[row, row], *(found[row, column] for column in columns)]
    save_grid(np.stack(cells), folder / "grid.png", (len(columns) + 1, len(rows) + 1))
    mark_finished(folder)
    print(folder)


def _col_styles(given: Sequence[int] | None, num_slots: int) -> list[int]:
    """Numbers of the layers that take the column's styles.

    Raises:
        UserError: one that the network has not.
    """
    if given is None:
        return list(range(min(_COL_STYLES, num_slots)))
    if max(given) >= num_slots:
        raise UserError(f"--col-styles: {max(given)} is no layer; they are 0 to {num_slots - 1}")
    return list(given)


def _images(
    generator: StyleGAN2Generator,
    styles: np.ndarray,
    noise: Sequence[np.ndarray],
    minibatch: int,
    execution: Execution,
) -> np.ndarray:
    """Styles [N,L,D] and maps [N,h,w,1] -> uint8 [N,H,W,C]."""
    minibatch = min(minibatch, len(styles))
    signature = [
        tf.TensorSpec([None, *styles.shape[1:]], tf.float32),
        [tf.TensorSpec([None, *maps.shape[1:]], tf.float32) for maps in noise],
    ]
    run = make_function(
        lambda styles, noise: to_uint8(generator.synthesize(styles, noise)),
        generator,
        execution,
        signature,
    )
    images = []
    with tqdm(total=len(styles), unit="image", file=sys.stderr, disable=None) as progress:
        for begin in range(0, len(styles), minibatch):
            end = min(begin + minibatch, len(styles))
            batch = [
                tf.constant(fill_batch(values[begin:end], minibatch, execution))
                for values in (styles, *noise)
            ]
            images.append(run(batch[0], batch[1:]).numpy()[: end - begin])
            progress.update(end - begin)
    return np.concatenate(images)
