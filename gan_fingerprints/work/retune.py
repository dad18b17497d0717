"""`retune`: a new decoder for a generator that stays as it is."""

import argparse
import sys
from pathlib import Path

from dnnlib.config import save_json, to_dict
from dnnlib.errors import UserError
from dnnlib.tflib.machine import resolve_execution
from dnnlib.tflib.threads import pin_threads
from gan_fingerprints.work.images import load_decoder
from gan_fingerprints.work.models import load_model
from gan_fingerprints.work.output import emit
from gan_fingerprints.work.registry import keep_heads, open_registry
from training.models.functions import num_classes
from training.models.hashes import ORIGINAL
from training.models.snapshot import save_snapshot
from training.retuning import RetuneConfig, Retuning, WorkFolder


def retune(args: argparse.Namespace) -> None:
    """The command `retune`."""
    out = Path(args.out)
    if out.suffix != ".pkl":
        raise UserError(f"--out={out}: a snapshot's name ends with .pkl")
    threads = pin_threads(args.threads)
    networks, model_hash, decoder_hash = load_model(args.network)
    is_registered = _knows(args, model_hash)  # before hours of work
    generator, decoder = networks.fingerprinted, networks.decoder
    if num_classes(generator):
        raise UserError(
            f"--network={args.network}: decoders of generators with classes cannot be retuned yet; "
            "name a model without classes"
        )
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
    save_json(report, folder.report)
    save_snapshot(out, E=decoder, G=networks.G, D=networks.D, Gs=networks.Gs, position=position)
    if is_registered:
        _enter(args, out, model_hash)
    folder.remove()  # last: whatever ends the command before, the same command goes on
    values = {"out": str(out), "entered": is_registered, **to_dict(report)}
    emit(args, values, "\n".join([*report.lines(), f"wrote {out}"]))


def _knows(args: argparse.Namespace, model_hash: str) -> bool:
    """Whether there is a registry and it knows the model; says so if not.

    Raises:
        UserError: what is there cannot be opened as a registry.
    """
    if "://" not in args.registry and not Path(args.registry).exists():
        what = f"there is no registry {args.registry}"
    else:
        with open_registry(args) as registry:
            if model_hash in {model.model_hash for model in registry.models()}:
                return True
            what = f"registry {registry.name} does not know the model {model_hash[:12]}"
    print(f"{what}: the new decoder will not be entered; calibrate does it later", file=sys.stderr)
    return False


def _enter(args: argparse.Namespace, out: Path, model_hash: str) -> None:
    """Enters the new decoder in the registry."""
    decoder, _, decoder_hash = load_decoder(str(out))
    with open_registry(args) as registry:
        registry.add_model(model_hash, decoder_hash, decoder.fingerprint_size, out.name)
        keep_heads(args, registry)
        print(
            f"entered the new decoder in {registry.name}; calibrate with it before verdicts",
            file=sys.stderr,
        )
