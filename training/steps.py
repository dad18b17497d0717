"""The four training phases: tapes, gradients, optimiser updates.

Each phase is a compiled function from tensors to gradients and statistics, called slice by slice
from a plain tf.function that draws the random inputs before and updates the variables after it.

A minibatch has the same slices on any number of devices: each replica computes some of them, sums
are taken over all replicas, and then every replica updates its own copy of the variables alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.tflib.devices import Devices
from training import loss
from training.adam import Adam
from training.channels import CHANNELS, Channel, Draws
from training.draws import draw_inputs, draw_known, known_fingerprints
from training.ema import WeightAverage
from training.networks.decoder import Decoder
from training.networks.layers import Network
from training.schedule import Rates, Strengths, lazy_ratio

Stats = dict[str, tf.Tensor]
Gradients = tuple[list[tf.Tensor], Stats]


@dataclass(frozen=True)
class StepOptions:
    """What the phases need to know; see TrainConfig for the meaning of each."""

    minibatch: int
    minibatch_gpu: int
    gamma: float
    g_reg_interval: int
    d_reg_interval: int
    seed: int
    distinct_fingerprints: int = 0
    learn: str = "all"  # of the generator
    relativistic: bool = False  # which adversarial loss
    channel: Channel = CHANNELS["identity"]
    augment: Channel = CHANNELS["identity"]
    ada_target: float = 0.6
    ada_kimg: float = 0.0
    jit: bool = True
    beta1: float = 0.0
    beta2: float = 0.99
    epsilon: float = 1e-8


# Streams of random numbers: every (phase, slice) of an iteration has its own. Those of the channels
# count downwards from -1, so that a channel leaves all others as they are.
_PHASES = ("generator", "path_length", "path_length_pixels", "discriminator")
_CHANNEL_USES = ("decoder", "fakes_of_generator", "fakes", "reals", "reals_of_r1")


class Steps(tf.Module):
    """Owns the optimisers and the path length mean, and runs the phases.

    Args:
        generator, discriminator, decoder: the networks trained; there is no decoder where
            `generator_gradients` does without.
        average: Gs, of the generator's class and arguments.
        options: constants of the run.
        devices: where the networks' variables are, and where the phases run; None: one device.
        labels: float32 [M,C], of all real images, which those of fakes are drawn from; None: there
            are no classes.
        before: the generator that training began with, for `loss.anchor_loss`; None: of no
            interest.

    Raises:
        ValueError: the slices of a minibatch cannot be shared by the devices.
    """

    def __init__(
        self,
        *,
        generator: Any,
        discriminator: Any,
        decoder: Decoder | None,
        average: Network,
        options: StepOptions,
        devices: Devices | None = None,
        labels: np.ndarray | None = None,
        before: Any = None,
    ) -> None:
        super().__init__()
        self._all_labels = labels
        self._before = before
        self._devices = Devices() if devices is None else devices
        if options.minibatch % (options.minibatch_gpu * self._devices.num_replicas):
            raise ValueError("minibatch must be a multiple of minibatch_gpu times the devices")
        self.generator = generator
        self.discriminator = discriminator
        self.decoder = decoder
        self.average = average
        self._average = WeightAverage(average, generator, jit=options.jit)
        self.options = options
        self._known: np.ndarray | None = None
        if count := options.distinct_fingerprints:
            self._known = known_fingerprints(options.seed, count, generator.fingerprint_size)
        self.num_slices = options.minibatch // options.minibatch_gpu  # on all devices together
        self.pl_mean = tf.Variable(0.0, trainable=False, name="pl_mean")
        # Of the augmentation; it moves where `ada_kimg` is not 0.
        self.augment_p = tf.Variable(
            0.0 if options.ada_kimg else 1.0, trainable=False, name="augment_p"
        )
        learns_all = options.learn == "all"
        g_trainables = (
            generator.named_trainables() if learns_all else generator.fingerprint_trainables()
        )
        self._g_vars = tuple(g_trainables.values())
        self._d_vars = tuple(discriminator.named_trainables().values())
        self._e_vars = () if decoder is None else tuple(decoder.named_trainables().values())
        self.g_adam = self._adam(g_trainables, options.g_reg_interval)
        self.e_adam = None
        if decoder is not None:
            self.e_adam = self._adam(decoder.named_trainables(), options.g_reg_interval)
        self.d_adam = self._adam(discriminator.named_trainables(), options.d_reg_interval)
        self._compiled = {
            phase.__name__: tf.function(phase, jit_compile=options.jit, autograph=False)
            for phase in (
                self.generator_gradients,
                self.path_length_gradients,
                self.discriminator_gradients,
                self.r1_gradients,
            )
        }
        # `discriminator_step` and `r1_step` take reals as `Devices.distribute` makes them.
        self.generator_step = self._function(self._generator_step)
        self.path_length_step = self._function(self._path_length_step)
        self.discriminator_step = self._function(self._discriminator_step)
        self.r1_step = self._function(self._r1_step)

    def _function(self, step: Callable[..., Stats]) -> Any:
        # A partial, since TensorFlow warns of retracing by code, and the code is that of all steps.
        return tf.function(partial(self._on_replicas, step), autograph=False)

    def _on_replicas(self, step: Callable[..., Stats], *args: Any) -> Stats:
        """Runs a step on all replicas; its statistics are the same everywhere."""
        strategy = self._devices.strategy
        return strategy.experimental_local_results(strategy.run(step, args=args))[0]

    def num_traces(self) -> int:
        """How often TensorFlow has traced something; it stands still after the first iterations."""
        steps = (self.generator_step, self.path_length_step, self.discriminator_step, self.r1_step)
        functions = (*steps, *self._compiled.values())
        traces = sum(function.experimental_get_tracing_count() for function in functions)
        return traces + self._average.num_traces()

    def _adam(self, variables: dict[str, tf.Variable], interval: int) -> Adam:
        """Lazy regularisation (StyleGAN2, appendix B): beta**c, c = interval / (interval + 1)."""
        c = lazy_ratio(interval)
        return Adam(
            variables,
            beta1=self.options.beta1**c,
            beta2=self.options.beta2**c,
            epsilon=self.options.epsilon,
        )

    # Random inputs, drawn outside the compiled functions: [slice][...].

    def _stream(self, step: tf.Tensor, phase: str, part: int | tf.Tensor) -> tf.Tensor:
        """Seed of the stateless random numbers of one slice of one phase."""
        stream = (step * len(_PHASES) + _PHASES.index(phase)) * self.num_slices + part
        return tf.stack([tf.constant(self.options.seed, tf.int64), stream])

    def _draw(
        self, step: tf.Tensor, phase: str, part: int | tf.Tensor, num: int, generator_calls: int
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Latents [num,Z], codes [calls,num,B+C] and flat noise [calls,num,sum h*w] of one slice.

        Codes are bits, and labels where there are classes.
        """
        seed = self._stream(step, phase, part)
        latents, codes, noise = draw_inputs(
            self.generator, seed, num, generator_calls, self._all_labels
        )
        if self._known is not None:
            bits = draw_known(self._known, seed, [generator_calls, num])
            codes = tf.concat([bits, codes[:, :, bits.shape[-1] :]], axis=2)
        return latents, codes, noise

    def _draw_channel(
        self,
        channel: Channel,
        step: tf.Tensor,
        use: str,
        part: int | tf.Tensor,
        strength: tf.Tensor,
    ) -> Draws:
        """What a channel needs of chance for one slice, in one of its uses."""
        number = (step * len(_CHANNEL_USES) + _CHANNEL_USES.index(use)) * self.num_slices + part
        seed = tf.stack([tf.constant(self.options.seed, tf.int64), -1 - number])
        d = self.discriminator
        shape = (self.options.minibatch_gpu, d.resolution, d.resolution, d.num_channels)
        return channel.draw(shape, seed, strength)

    # How latents, fingerprints and labels become images, here and nowhere else.

    def _styles(self, latents: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        """[N,Z], [N,B+C] -> [N,L,D]."""
        return self.generator.map_fingerprints(self._bits(codes))

    def _synthesize(
        self, latents: tf.Tensor, styles: tf.Tensor, noise: tf.Tensor, labels: tf.Tensor | None
    ) -> tf.Tensor:
        """[N,Z], [N,L,D], flat noise, [N,C] or None -> [N,H,W,C]."""
        g = self.generator
        return g.synthesize(latents, styles, g.split_noise(noise), labels)

    def _fakes(self, latents: tf.Tensor, codes: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """[N,Z], [N,B+C], flat noise -> [N,H,W,C]."""
        styles = self._styles(latents, codes)
        return self._synthesize(latents, styles, noise, self._labels(codes))

    def _fakes_before(
        self, latents: tf.Tensor, codes: tf.Tensor, noise: tf.Tensor
    ) -> tf.Tensor | None:
        """See `loss.anchor_loss`: [N,Z], [N,B+C], flat noise -> [N,H,W,C]; None without."""
        g = self._before
        if g is None:
            return None
        bits, labels, maps = self._bits(codes), self._labels(codes), g.split_noise(noise)
        one, other = (
            g.synthesize(latents, g.map_fingerprints(code), maps, labels)
            for code in (bits, 1 - bits)
        )
        return tf.stop_gradient((one + other) / 2)

    def _scores(
        self, images: tf.Tensor, labels: tf.Tensor | None, minibatches: int = 1
    ) -> tf.Tensor:
        """[N,H,W,C], [N,C] or None -> [N,1]."""
        given = () if labels is None else (labels,)
        return self.discriminator(images, *given, minibatches=minibatches)

    def _bits(self, codes: tf.Tensor) -> tf.Tensor:
        """Fingerprints of fakes: [N,B+C] -> [N,B]."""
        return codes[:, : self.generator.fingerprint_size] if self.generator.label_size else codes

    def _labels(self, codes: tf.Tensor) -> tf.Tensor | None:
        """Labels of fakes: [N,B+C] -> [N,C]; None where there are none."""
        return codes[:, self.generator.fingerprint_size :] if self.generator.label_size else None

    # Phases as pure functions: tensors -> gradients and statistics.

    def generator_gradients(
        self,
        latents: tf.Tensor,
        codes: tf.Tensor,
        noise: tf.Tensor,
        weights: Any,
        channel_draws: Draws | None = None,
        fakes_draws: Draws | None = None,
        reals: tf.Tensor | None = None,
        reals_labels: tf.Tensor | None = None,
    ) -> Gradients:
        """Generator and decoder step: two fingerprints, one latent (paper, equation 6).

        `weights` are those of `loss.weights_of`; None are the draws of a channel without chance.
        The relativistic loss alone takes reals.
        """
        e, options = self.decoder, self.options
        assert e is not None
        n = options.minibatch_gpu
        bits, bits_other = self._bits(codes[0]), self._bits(codes[1])
        labels = self._labels(codes[0])  # the same in both calls
        with tf.GradientTape() as tape:
            # Both fingerprints in one pass: twice the batch costs less than two calls.
            both = self._fakes(
                tf.concat([latents, latents], 0),
                tf.concat([codes[0], codes[1]], 0),
                tf.concat([noise[0], noise[1]], 0),
            )
            images, images_other = both[:n], both[n:]
            scores, scores_reals = self._compared(
                images, labels, fakes_draws or {}, reals, reals_labels
            )
            received = options.channel.apply(images, channel_draws or {})
            if options.channel.spares_latent:
                found = e.recover(tf.concat([tf.clip_by_value(images, -1, 1), received], 0))
                logits_clean, logits = tf.split(found.logits, 2)
                decoded, decoded_labels = found.latents[:n], found.labels[:n]
            else:
                decoded, decoded_labels, logits = e.recover(received)
                logits_clean = logits
            forward = loss.Forward(
                latents, bits, images, bits_other, images_other, received, decoded, logits,
                labels, decoded_labels, self._fakes_before(latents, codes[0], noise[0]),
            )  # fmt: skip
            total, statistics = loss.generator_loss(scores, forward, weights, scores_reals)
        gradients = tape.gradient(total, self._g_vars + self._e_vars, unconnected_gradients="zero")
        return gradients, {
            **statistics,
            "scores/fake": tf.reduce_mean(scores),
            **self._accuracies(bits, logits_clean, logits),
        }

    def _compared(
        self,
        images: tf.Tensor,
        labels: tf.Tensor | None,
        draws: Draws,
        reals: tf.Tensor | None,
        reals_labels: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Scores [N,1] of fakes, and of the reals that they are compared with; None without."""
        augment = self.options.augment.apply
        fakes = augment(images, draws)
        if reals is None:
            return self._scores(fakes, labels), None
        if labels is not None:
            labels = tf.concat([labels, reals_labels], 0)
        both = tf.concat([fakes, augment(reals, draws)], 0)
        return tf.split(self._scores(both, labels, minibatches=2), 2)

    def _accuracies(
        self, bits: tf.Tensor, logits_clean: tf.Tensor, logits: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Bit accuracy, and where a channel with edits is between, of what is behind it."""
        accuracies = {"bit_accuracy": loss.bit_accuracy(bits, logits_clean)}
        if self.options.channel.spares_latent:
            accuracies["bit_accuracy_edited"] = loss.bit_accuracy(bits, logits)
        return accuracies

    def path_length_gradients(
        self, latents: tf.Tensor, codes: tf.Tensor, noise: tf.Tensor, pixels: tf.Tensor
    ) -> Gradients:
        """Path length regularisation, scaled by its interval."""
        g = self.generator
        with tf.GradientTape() as tape:
            styles = self._styles(latents, codes[0])
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(styles)
                images = self._synthesize(latents, styles, noise[0], self._labels(codes[0]))
                projected = tf.reduce_sum(images * pixels) / g.resolution
            lengths = loss.path_lengths(inner.gradient(projected, styles))
            penalty, _ = loss.path_length_penalty(lengths, self.pl_mean)
            penalty = tf.reduce_mean(penalty)
            total = penalty * self.options.g_reg_interval
        gradients = tape.gradient(total, self._g_vars, unconnected_gradients="zero")
        return gradients, {"pl_lengths": tf.reduce_mean(lengths), "pl_penalty": penalty}

    def discriminator_gradients(
        self,
        latents: tf.Tensor,
        codes: tf.Tensor,
        noise: tf.Tensor,
        reals: tf.Tensor,
        fakes_draws: Draws | None = None,
        reals_draws: Draws | None = None,
        labels: tf.Tensor | None = None,
    ) -> Gradients:
        """Discriminator step on fresh fakes and the reals given, both through the augmentation."""
        augment = self.options.augment.apply
        if labels is not None:
            labels = tf.concat([self._labels(codes[0]), labels], 0)
        fakes = augment(self._fakes(latents, codes[0], noise[0]), fakes_draws or {})
        reals = augment(reals, reals_draws or {})
        with tf.GradientTape() as tape:
            # Fakes and reals in one pass, for the same reason.
            scores = self._scores(tf.concat([fakes, reals], 0), labels, minibatches=2)
            scores_fakes, scores_reals = tf.split(scores, 2)
            losses = loss.discriminator_loss(
                scores_fakes, scores_reals, relativistic=self.options.relativistic
            )
            total = tf.reduce_mean(losses)
        gradients = tape.gradient(total, self._d_vars, unconnected_gradients="zero")
        return gradients, {
            "loss_D": total,
            "scores/fake": tf.reduce_mean(scores_fakes),
            "scores/real": tf.reduce_mean(scores_reals),
            "scores/real_sign": tf.reduce_mean(tf.sign(scores_reals)),
        }

    def r1_gradients(
        self,
        reals: tf.Tensor,
        draws: Draws | None = None,
        labels: tf.Tensor | None = None,
        of_fakes: tuple[tf.Tensor, tf.Tensor, tf.Tensor] | None = None,
    ) -> Gradients:
        """R1 on the discriminator step's reals, scaled by its interval.

        With latents, codes and noise R2 on fakes made of these as well, which is the same penalty.
        """
        if of_fakes is not None:
            gradients, stats = self.r1_gradients(reals, draws, labels)
            latents, codes, noise = of_fakes
            fakes = tf.stop_gradient(self._fakes(latents, codes[0], noise[0]))
            more, _ = self.r1_gradients(fakes, draws, self._labels(codes[0]))
            return [one + other for one, other in zip(gradients, more, strict=True)], stats
        with tf.GradientTape() as tape:
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(reals)
                augmented = self.options.augment.apply(reals, draws or {})
                scores = tf.reduce_sum(self._scores(augmented, labels))
            penalty = loss.r1_penalty(inner.gradient(scores, reals), self.options.gamma)
            penalty = tf.reduce_mean(penalty)
            total = penalty * self.options.d_reg_interval
        gradients = tape.gradient(total, self._d_vars, unconnected_gradients="zero")
        return gradients, {"gradient_penalty": penalty}

    # Steps on one replica: its slices, mean over all of them, update.

    def _accumulate(self, slices: Callable[[int], Gradients]) -> Gradients:
        """Mean of gradients and statistics over the slices of the minibatch.

        Args:
            slices: computes the slice of this number, counted from this replica's first one.
        """
        replicas = self._devices.num_replicas
        gradients, stats = slices(0)
        for index in range(1, self.num_slices // replicas):
            # One after the other: slices that run at once would all need their memory.
            with tf.control_dependencies(gradients):
                more, more_stats = slices(index)
            gradients = [a + b for a, b in zip(gradients, more, strict=True)]
            stats = {name: value + more_stats[name] for name, value in stats.items()}
        if replicas > 1:
            values = [*gradients, *stats.values()]  # all at once: every call takes its time
            values = tf.distribute.get_replica_context().all_reduce("SUM", values)
            gradients, sums = values[: len(gradients)], values[len(gradients) :]
            stats = dict(zip(stats, sums, strict=True))
        if self.num_slices > 1:
            gradients = [value / self.num_slices for value in gradients]
            stats = {name: value / self.num_slices for name, value in stats.items()}
        return gradients, stats

    def _part(self, index: int) -> tf.Tensor:
        """Number of a slice of this replica among all slices of the minibatch."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        share = self.num_slices // self._devices.num_replicas
        return tf.cast(replica, tf.int64) * share + index

    def _slice(self, reals: tf.Tensor | None, index: int) -> tf.Tensor | None:
        """The reals, or their labels, of a slice of this replica; `reals` are this replica's."""
        if reals is None:
            return None
        n = self.options.minibatch_gpu
        return reals[index * n : (index + 1) * n]

    def _generator_step(
        self,
        step: tf.Tensor,
        rates: Rates,
        weights: Any,
        strengths: Strengths,
        reals: tf.Tensor | None = None,
        labels: tf.Tensor | None = None,
    ) -> Stats:
        def one(index: int) -> Gradients:
            n, part, options = self.options.minibatch_gpu, self._part(index), self.options
            drawn = self._draw(step, "generator", part, n, 2)
            strength, p = strengths.channel, self.augment_p.read_value()
            channel = self._draw_channel(options.channel, step, "decoder", part, strength)
            augment = self._draw_channel(options.augment, step, "fakes_of_generator", part, p)
            compared = (self._slice(reals, index), self._slice(labels, index))
            phase = self._compiled["generator_gradients"]
            return phase(*drawn, weights, channel, augment, *compared)

        gradients, stats = self._accumulate(one)
        split = len(self._g_vars)
        ratio = lazy_ratio(self.options.g_reg_interval)
        skipped_g = self.g_adam.apply(gradients[:split], rates.G * ratio)
        stats = stats | {"skipped/G": skipped_g}
        if self.e_adam is not None:
            stats["skipped/E"] = self.e_adam.apply(gradients[split:], rates.E * ratio)
        return stats

    def _path_length_step(self, step: tf.Tensor, rates: Rates) -> Stats:
        n = max(self.options.minibatch_gpu // 2, 1)
        shape = [n, self.generator.resolution, self.generator.resolution]

        def one(index: int) -> Gradients:
            part = self._part(index)
            drawn = self._draw(step, "path_length", part, n, 1)
            seed = self._stream(step, "path_length_pixels", part)
            pixels = tf.random.stateless_normal([*shape, self.generator.num_channels], seed)
            return self._compiled["path_length_gradients"](*drawn, pixels)

        gradients, stats = self._accumulate(one)
        skipped = self.g_adam.apply(gradients, rates.G * lazy_ratio(self.options.g_reg_interval))
        # Not as published: a mean that is not finite once would stay so.
        lengths = stats["pl_lengths"]
        lengths = tf.where(tf.math.is_finite(lengths), lengths, self.pl_mean)
        self.pl_mean.assign_add(loss.PATH_LENGTH_DECAY * (lengths - self.pl_mean))
        return stats | {"skipped/G_reg": skipped}

    def _discriminator_step(
        self,
        step: tf.Tensor,
        reals: tf.Tensor,
        rates: Rates,
        ema_beta: tf.Tensor,
        labels: tf.Tensor | None = None,
    ) -> Stats:
        def one(index: int) -> Gradients:
            n, part, augment = self.options.minibatch_gpu, self._part(index), self.options.augment
            drawn = self._draw(step, "discriminator", part, n, 1)
            p = self.augment_p.read_value()
            draws = (self._draw_channel(augment, step, use, part, p) for use in ("fakes", "reals"))
            phase = self._compiled["discriminator_gradients"]
            return phase(*drawn, self._slice(reals, index), *draws, self._slice(labels, index))

        gradients, stats = self._accumulate(one)
        skipped = self.d_adam.apply(gradients, rates.D * lazy_ratio(self.options.d_reg_interval))
        self._average.update(ema_beta)
        stats = stats | {"skipped/D": skipped}
        if self.options.ada_kimg:
            stats["augment_p"] = self._adapt_augment(stats["scores/real_sign"])
        return stats

    def _adapt_augment(self, sign: tf.Tensor) -> tf.Tensor:
        """Moves the strength p of the augmentation (Karras et al., arXiv 2006.06676, section 3).

        r = E[sign D(real)] says how much the discriminator overfits; p moves by a constant step
        towards where r is the target.
        """
        options = self.options
        change = tf.sign(sign - options.ada_target)
        moved = self.augment_p + change * (options.minibatch / (options.ada_kimg * 1000))
        moved = tf.clip_by_value(moved, 0.0, 1.0)
        self.augment_p.assign(moved)
        return moved

    def _r1_step(
        self, step: tf.Tensor, reals: tf.Tensor, rates: Rates, labels: tf.Tensor | None = None
    ) -> Stats:
        def one(index: int) -> Gradients:
            part, augment = self._part(index), self.options.augment
            p = self.augment_p.read_value()
            draws = self._draw_channel(augment, step, "reals_of_r1", part, p)
            phase = self._compiled["r1_gradients"]
            fakes = None
            if self.options.relativistic:
                fakes = self._draw(step, "path_length", part, self.options.minibatch_gpu, 1)
            return phase(self._slice(reals, index), draws, self._slice(labels, index), fakes)

        gradients, stats = self._accumulate(one)
        skipped = self.d_adam.apply(gradients, rates.D * lazy_ratio(self.options.d_reg_interval))
        return stats | {"skipped/D_reg": skipped}
