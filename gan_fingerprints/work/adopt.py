"""`adopt`: fingerprints for a StyleGAN2 that was there before."""

import argparse
import hashlib

import numpy as np

from dnnlib.config import to_dict
from dnnlib.download import open_url_or_path
from dnnlib.errors import UserError
from dnnlib.run_dir import check_result_dir
from dnnlib.tflib.machine import resolve_execution
from dnnlib.tflib.threads import pin_threads
from gan_fingerprints.work.evaluate import network_stem
from gan_fingerprints.work.output import emit
from training.adoption import AdoptConfig, AdoptFolder, Adoption, make_adopted_decoder
from training.models import arrays_file
from training.models.snapshot import load_networks
from training.networks.adopted import AdoptedGenerator, adopt
from training.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator


def adopt_network(args: argparse.Namespace) -> None:
    """The command `adopt`."""
    threads = pin_threads(args.threads)
    check_result_dir(args.result_dir)
    networks = load_networks(args.network)
    original = networks.generator
    if type(original) is not StyleGAN2Generator:
        has = (
            "fingerprints already" if isinstance(original, AdoptedGenerator) else "no latent style"
        )
        raise UserError(
            f"--network={args.network} is no plain StyleGAN2 ({has}); name the file of one"
        )
    path = open_url_or_path(args.network)
    if arrays_file.is_archive(path):
        raise UserError(f"--network={args.network} is an archive of arrays; name a .pkl")
    file = np.fromfile(path, np.uint8)
    config = AdoptConfig(
        network=hashlib.sha256(file.data).hexdigest(),
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
    discriminator = networks.D if isinstance(networks.D, StyleGAN2Discriminator) else None
    adoption = Adoption(
        config,
        adopt(original, config.num_bits, biases=config.embedding == "styles+biases"),
        make_adopted_decoder(original, discriminator, config),
        discriminator,
        file,
        resolve_execution(args.ops, args.precision),
        threads,
    )
    folder = AdoptFolder(args.result_dir, config)
    report = adoption.run(folder.path, args.checkpoint_minutes)
    out = str(folder.path / "network-final.pkl")
    emit(args, {"network": out, **to_dict(report)}, out)
