"""Balances the bits of a snapshot (`training.balancing`) and fits its decoder to it."""

import os

from dnnlib.errors import UserError
from dnnlib.tflib.machine import resolve_execution
from training.balancing import balance, fade
from training.channels import find_channel
from training.models.orthogonal import is_linear, is_orthogonal, orthogonalise
from training.models.snapshot import load_networks, save_snapshot
from training.networks.decoder import Decoder
from training.networks.generator import Generator
from training.readout import FittedReadout, fit_readout


def write_balanced(
    snapshot: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    psnr: float | None,
    size: int,
    num_images: int,
    immunize: str,
    strength: float,
    seed: int,
) -> None:
    """See `tools.balance`.

    Raises:
        UserError: networks that this is not for, a size that does not divide their pictures, edits
            that there are not, or a file that cannot be read or written.
    """
    found = load_networks(snapshot)
    average, decoder = found.fingerprinted, found.decoder
    generators = [generator for generator in (found.G, average) if generator is not None]
    if size == 0 and (psnr is None or immunize != "none"):
        raise UserError(
            "--readout=0 fits no layer: it takes a --psnr to aim at and no --immunize; leave it out"
        )
    if is_linear(average) and psnr is not None:
        generators = orthogonalise(generators)
    elif not is_linear(average) and not is_orthogonal(average):
        raise UserError(
            f"{snapshot}: its mapping of fingerprints is not one linear layer at least as wide as "
            "the bits; name a model that was trained with --mapping=linear or orthogonal"
        )
    execution = resolve_execution()

    def save(generators: list[Generator], decoder: Decoder) -> None:
        G = generators[0] if found.G is not None else None
        save_snapshot(output, E=decoder, G=G, D=found.D, Gs=generators[-1], position=found.position)

    if psnr is not None and size == 0:
        save(fade(generators, psnr, seed=seed, execution=execution), decoder)
        return
    if decoder.resolution % size:
        raise UserError(
            f"--readout={size} does not divide {decoder.resolution} pixels; choose a divisor"
        )
    channel = None if immunize == "none" else find_channel(immunize)

    def fit(images: int) -> FittedReadout:
        return fit_readout(
            generators[-1],
            decoder,
            size,
            num_images=images,
            seed=seed,
            execution=execution,
            channel=channel,
            strength=strength,
        )

    if psnr is not None:
        first = fit(num_images // 2)
        print(f"Lost directions back: {first.accuracy:.4f} of the bits read", flush=True)
        generators = balance(generators, first.information, psnr, seed=seed, execution=execution)
    last = fit(num_images)
    print(
        f"{'Fitted' if psnr is None else 'Balanced'}: {last.accuracy:.4f} of the bits read, "
        f"{last.accuracy_before:.4f} without the "
        f"new layer; {last.share:g} of what the decoder said before is kept"
    )
    save(generators, last.decoder)
