"""`retune`: a new decoder for a generator that stays as it is."""

import argparse
import sys
from pathlib import Path

from dnnlib.config import save_json, to_dict
from dnnlib.errors import UserError
from dnnlib.tflib.machine import resolve_execution
from dnnlib.tflib.threads import pin_threads
from gan_fingerprints.work.images import load_decoder
from gan_fingerprints.work.output import emit
from gan_fingerprints.work.registry import keep_heads, open_registry
from training.models.hashes import ORIGINAL, hashes_of
from training.models.snapshot import Networks, build_networks, read_snapshot, save_snapshot
from training.retuning import RetuneConfig, Retuning, WorkFolder


def retune(args: argparse.Namespace) -> None:
    """The command `retune`."""
    out = Path(args.out)
    if out.suffix != ".pkl":
        raise UserError(f"--out={out}: a snapshot's name ends with .pkl")
    threads = pin_threads(args.threads)
    networks, model_hash, decoder_hash = _load_model(args.network)
    generator, decoder = networks.fingerprinted, networks.decoder
    config = RetuneConfig(
        network=f"{model_hash} {decoder_hash}",
        immunize=args.immunize,
        kimg=args.kimg,
        minibatch=args.minibatch,
        learning_rate=args.learning_rate,
        seed=args.seed,
    )
    execution = resolve_execution(args.ops, args.precision)
    work = Retuning(config, generator, decoder, execution, threads)
    folder = WorkFolder(out, config)
    report = work.run(
        folder.path, args.checkpoint_minutes, lambda line: print(line, file=sys.stderr)
    )
    position = {ORIGINAL: decoder_hash, **networks.position}
    save_json(report, out.with_suffix(".json"))
    save_snapshot(out, E=decoder, G=networks.G, D=networks.D, Gs=networks.Gs, position=position)
    folder.remove()
    entered = _enter(args, out, model_hash)
    values = {"out": str(out), "entered": entered, **to_dict(report)}
    emit(args, values, "\n".join([*report.lines(), f"wrote {out}"]))


def _enter(args: argparse.Namespace, out: Path, model_hash: str) -> bool:
    """Enters the new decoder in a registry that is there and knows the model.

    Returns:
        Whether it was entered; `calibrate` and `issue` do it otherwise.
    """
    if "://" not in args.registry and not Path(args.registry).exists():
        return False
    registry = open_registry(args)
    if model_hash not in {model.model_hash for model in registry.models()}:
        return False
    decoder, _, decoder_hash = load_decoder(str(out))
    registry.add_model(model_hash, decoder_hash, decoder.fingerprint_size, out.name)
    keep_heads(args, registry)
    print(
        f"entered the new decoder in {registry.name}; calibrate with it before verdicts",
        file=sys.stderr,
    )
    return True


def _load_model(name: str) -> tuple[Networks, str, str]:
    """The networks of a snapshot, and the hashes of the model and of its decoder."""
    data, position = read_snapshot(name)
    model_hash, decoder_hash = hashes_of(data, name, position)
    if model_hash is None or decoder_hash is None:
        raise UserError(f"--network={name} must hold a generator and its decoder")
    return build_networks(data, position, name), model_hash, decoder_hash
