"""Attacks that train: an instance on own pictures, a copy of it, an autoencoder."""

import dataclasses
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.pixels import centred
from evaluation.attacks.instances import Instances
from evaluation.attacks.outcome import removed
from evaluation.subject.model import MINIBATCH, Subject
from evaluation.subject.pictures import real_pictures
from evaluation.subject.readings import Reader
from evaluation.subject.settings import Settings, Skipped
from metrics.context import RealImages
from training.adam import Adam
from training.loss import discriminator_loss, generator_adversarial_loss, r1_penalty
from training.models.functions import to_uint8
from training.networks.configs import DiscriminatorConfig, FeatureMaps, PlainGeneratorConfig
from training.networks.decoder import Decoder
from training.networks.discriminator import Discriminator
from training.networks.layers import Network
from training.networks.plain_generator import PlainGenerator

STAGES = (50, 200)  # steps of fine-tuning after which pictures are judged
COPYING = 400  # steps of the copy, and of the autoencoder
PICTURES = 2000  # that an autoencoder learns from, at most
CODE = 256  # numbers that it keeps of a picture
_RATE = 0.002
_GAMMA = 10.0  # of R1
_SIZE = 16  # pictures of a step


def fine_tuned(subject: Subject, settings: Settings, dataset: RealImages | None) -> dict[str, Any]:
    """A licensee trains his instance on own pictures, against a discriminator of his own.

    The non-saturating loss with R1 at every step, Adam as the generator was trained with.

    Raises:
        Skipped: no pictures, or instances of another kind.
    """
    if dataset is None:
        raise Skipped("the attacker trains on own pictures; name some with --dataset")
    instances, reader = Instances(subject), Reader(subject, settings.fpr)
    seeds, owners = range(settings.num_images), np.zeros(settings.num_images, int)
    weights = instances.weights(0)
    before = instances.pictures(weights, seeds)
    generator = instances.network
    discriminator = Discriminator(
        DiscriminatorConfig(**_shape(subject), **_widths(subject.decoder.config)), seed=subject.seed
    )
    step = _gan_step(generator, discriminator)
    reals = real_pictures(dataset, PICTURES)
    rng = np.random.default_rng([subject.seed, 7])
    rows, done = [], 0
    for stage in STAGES:
        for number in range(done, stage):
            chosen = reals[rng.integers(0, len(reals), _SIZE)]
            step(tf.constant(chosen, tf.float32), tf.constant(number, tf.int64))
        done = stage
        tuned = {name: v.numpy() for name, v in generator.named_trainables().items()}
        rows.append(
            removed(
                reader,
                f"instance fine-tuned for {stage} steps",
                needs="an instance, own pictures",
                cost=f"{stage} steps of {_SIZE} of {len(reals):,} pictures",
                before=before,
                after=instances.pictures(tuned, seeds),
                owners=owners,
                keeps_content=False,
            )
        )
    return {"rows": rows}


def _gan_step(generator: PlainGenerator, discriminator: Discriminator) -> Callable[..., None]:
    """One step of both networks: takes reals, floats 0 to 255, and the number of the step."""
    g_trained, d_trained = generator.named_trainables(), discriminator.named_trainables()
    g_adam, d_adam = Adam(g_trained), Adam(d_trained)
    g_variables, d_variables = list(g_trained.values()), list(d_trained.values())

    @tf.function(autograph=False)
    def step(reals: tf.Tensor, number: tf.Tensor) -> None:
        latents, noise = _inputs(generator, number, 0)
        real = centred(reals)
        rate = tf.constant(_RATE)
        with generator.running_with("reference"), discriminator.running_with("reference"):
            with tf.GradientTape() as tape:
                fakes = generator(latents, noise)
                loss = tf.reduce_mean(generator_adversarial_loss(discriminator(fakes)))
            g_adam.apply(tape.gradient(loss, g_variables, unconnected_gradients="zero"), rate)
            with tf.GradientTape() as tape:
                with tf.GradientTape() as inner:
                    inner.watch(real)
                    scores = discriminator(real)
                    total = tf.reduce_sum(scores)
                penalty = r1_penalty(inner.gradient(total, real), _GAMMA)
                loss = tf.reduce_mean(discriminator_loss(discriminator(fakes), scores) + penalty)
            d_adam.apply(tape.gradient(loss, d_variables, unconnected_gradients="zero"), rate)

    return step


def _inputs(
    generator: PlainGenerator, number: tf.Tensor, stream: int
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Latents and noise of the pictures of a step; streams of random numbers differ."""
    seed = tf.stack([number, tf.constant(stream, tf.int64)])
    size = sum(h * w for h, w in generator.noise_shapes)
    latents = tf.random.stateless_normal([_SIZE, generator.latent_size], seed)
    return latents, generator.split_noise(tf.random.stateless_normal([_SIZE, size], seed + 1))


def copied(subject: Subject, settings: Settings) -> dict[str, Any]:
    """A fresh generator learns to make an instance's pictures of the same latents (distillation).

    Raises:
        Skipped: instances of another kind.
    """
    instances, reader = Instances(subject), Reader(subject, settings.fpr)
    teacher = instances.network
    instances.assign(instances.weights(0))
    student = PlainGenerator(teacher.config, seed=subject.seed + 1)

    def loss_of(number: tf.Tensor) -> tf.Tensor:
        latents, noise = _inputs(teacher, number, 8)
        with teacher.running_with("reference"):
            wanted = tf.stop_gradient(teacher(latents, noise))
        return tf.reduce_mean(tf.square(student(latents, noise) - wanted))

    _minimise([student], loss_of, COPYING)
    seeds = range(settings.num_images)
    before = instances.pictures(instances.weights(0), seeds)
    learned = {name: v.numpy() for name, v in student.named_trainables().items()}
    row = removed(
        reader,
        f"instance copied by a fresh generator, {COPYING} steps",
        needs="an instance",
        cost=f"{COPYING} steps of {_SIZE} pictures",
        before=before,
        after=instances.pictures(learned, seeds),
        owners=np.zeros(settings.num_images, int),
    )
    return {"rows": [row]}


def recoded(subject: Subject, settings: Settings, dataset: RealImages | None) -> dict[str, Any]:
    """Pictures go through an autoencoder that was trained on pictures without fingerprints.

    Raises:
        Skipped: there are none.
    """
    if dataset is None:
        raise Skipped("the autoencoder learns from pictures without fingerprints; name --dataset")
    reader = Reader(subject, settings.fpr)
    images, owners = subject.pictures(settings.num_images), subject.owners(settings.num_images)
    public = real_pictures(dataset, PICTURES)
    code: dict[str, Any] = {"latent_size": CODE, "fingerprint_size": 1}
    encoder = Decoder(dataclasses.replace(subject.decoder.config, **code), seed=subject.seed)
    config = PlainGeneratorConfig(**_shape(subject), **_widths(subject.decoder.config), **code)
    decoder = PlainGenerator(config, seed=subject.seed + 1)
    chosen = np.random.default_rng([subject.seed, 9]).integers(0, len(public), [COPYING, _SIZE])
    rows, pictures = tf.constant(chosen), tf.constant(public)

    def through(x: tf.Tensor) -> tf.Tensor:
        noise = [tf.zeros([1, h, w, 1]) for h, w in decoder.noise_shapes]
        return decoder(encoder(x)[0], noise)

    def loss_of(number: tf.Tensor) -> tf.Tensor:
        x = centred(tf.cast(tf.gather(pictures, rows[number]), tf.float32))
        return tf.reduce_mean(tf.square(through(x) - x))

    _minimise([encoder, decoder], loss_of, COPYING)
    made = [
        to_uint8(through(centred(tf.constant(part, tf.float32)))).numpy()
        for part in np.array_split(images, -(-len(images) // MINIBATCH))
    ]
    row = removed(
        reader,
        f"through an autoencoder of {CODE} numbers, {COPYING} steps",
        needs="the picture, pictures without fingerprints",
        cost=f"{COPYING} steps of {_SIZE} of {len(public):,} pictures",
        before=images,
        after=np.concatenate(made),
        owners=owners,
    )
    return {"rows": [row]}


def _minimise(
    networks: list[Network], loss_of: Callable[[tf.Tensor], tf.Tensor], steps: int
) -> None:
    """Trains networks on a loss, a function of the step's number; they stay on plain operations."""
    trained = {
        f"{number}/{name}": variable
        for number, network in enumerate(networks)
        for name, variable in network.named_trainables().items()
    }
    for network in networks:
        network.run_with("reference")
    adam, variables = Adam(trained, beta1=0.9), list(trained.values())

    @tf.function(autograph=False)
    def step(number: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = loss_of(number)
        adam.apply(tape.gradient(loss, variables, unconnected_gradients="zero"), tf.constant(_RATE))

    for number in range(steps):
        step(tf.constant(number, tf.int64))


def _shape(subject: Subject) -> dict[str, Any]:
    return {"resolution": subject.resolution, "num_channels": subject.generator.num_channels}


def _widths(config: FeatureMaps) -> dict[str, Any]:
    """Channels per resolution of a network that there is."""
    return {field.name: getattr(config, field.name) for field in fields(FeatureMaps)}
