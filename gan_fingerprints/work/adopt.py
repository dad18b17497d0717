"""`adopt`: fingerprints for a StyleGAN2 that was there before."""

import argparse
import hashlib

from dnnlib.config import to_dict
from dnnlib.download import open_url_or_path
from dnnlib.run_dir import check_result_dir
from dnnlib.tflib.machine import resolve_execution
from dnnlib.tflib.threads import pin_threads
from gan_fingerprints.work.evaluate import network_stem
from gan_fingerprints.work.output import emit
from training.adoption import AdoptConfig, AdoptFolder, Adoption, make_adopted_decoder
from training.models.adopting import adopt, load_original


def adopt_network(args: argparse.Namespace) -> None:
    """The command `adopt`."""
    threads = pin_threads(args.threads)
    check_result_dir(args.result_dir)
    original = load_original(args.network)
    with open(open_url_or_path(args.network), "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    config = AdoptConfig(
        network=digest,
        name=network_stem(args.network),
        num_bits=args.bits,
        embedding=args.embedding,
        immunize=args.immunize,
        edit_strength=args.edit_strength,
        distance=args.distance_weight,
        realism=args.realism_weight,
        variety=args.variety,
        kimg=args.kimg,
        tick_kimg=args.kimg_per_tick,
        minibatch=args.minibatch,
        learning_rate=args.learning_rate,
        seed=args.seed,
    )
    adoption = Adoption(
        config,
        original,
        adopt(original, config.num_bits, biases=config.embedding == "styles+biases"),
        make_adopted_decoder(original, config),
        resolve_execution(args.ops, args.precision),
        threads,
    )
    folder = AdoptFolder(args.result_dir, config)
    report = adoption.run(folder.path, args.checkpoint_minutes)
    out = str(folder.path / "network-final.pkl")
    emit(args, {"network": out, **to_dict(report)}, out)
