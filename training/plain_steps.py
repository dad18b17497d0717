"""The training phases of plain StyleGAN2: style mixing, the average style, and no decoder.

What is not here is in `training.steps`: discriminator, R1, slices, devices, updates.
"""

from typing import Any

import tensorflow as tf

from training import loss
from training.channels import Draws
from training.steps import Gradients, Stats, Steps

STYLE_MIXING = 0.9  # share of images with styles of two latents (StyleGAN2, appendix B)
AVERAGE_BETA = 0.995  # how much of the average style stays in an iteration


class PlainSteps(Steps):
    """`Steps` of a `StyleGAN2Generator` and a `StyleGAN2Discriminator`.

    In place of latents and bits it draws two latents per image [N,2,Z] and codes [N,L+C]: per slot
    whether the style is the second's, 0 or 1, then the label of a real image.

    Args: see `Steps`.
    """

    def _draw(
        self, step: tf.Tensor, phase: str, part: int | tf.Tensor, num: int, generator_calls: int
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Latents [num,2,Z], codes [1,num,L] and flat noise [1,num,sum h*w] of one slice."""
        del generator_calls  # one: there is no other fingerprint
        g = self.generator
        seed = self._stream(step, phase, part)
        flat = sum(h * w for h, w in g.noise_shapes)
        normal = tf.random.stateless_normal([num * (2 * g.latent_size + flat)], seed)
        chance = tf.random.stateless_uniform([2, num], seed)
        latents = tf.reshape(normal[: num * 2 * g.latent_size], [num, 2, g.latent_size])
        noise = tf.reshape(normal[num * 2 * g.latent_size :], [1, num, flat])
        slots = g.synthesis.num_slots
        # The second latent's styles begin behind the first slot, at any of the others.
        begin = 1 + tf.floor(chance[0] * (slots - 1))
        begin = tf.where(chance[1] < STYLE_MIXING, begin, float(slots))
        codes = tf.cast(tf.range(slots, dtype=tf.float32)[None, :] >= begin[:, None], tf.float32)
        if self._all_labels is not None:
            which = tf.random.stateless_uniform([num], seed, 0, len(self._all_labels), tf.int32)
            codes = tf.concat([codes, tf.gather(tf.constant(self._all_labels), which)], 1)
        return latents, codes[None], noise

    def _styles(self, latents: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        """Mixed styles [N,L,D] (StyleGAN, arXiv 1812.04948, section 3.1)."""
        labels = self._labels(codes)
        if labels is not None:
            labels = tf.repeat(labels, 2, axis=0)
        both = self.generator.map_latents(tf.reshape(latents, [-1, latents.shape[2]]), labels)
        both = tf.reshape(both, [-1, 2, *both.shape[1:]])  # [N,2,L,D]
        is_second = codes[:, : both.shape[2], None] > 0.5
        return tf.where(is_second, both[:, 1], both[:, 0])

    def _labels(self, codes: tf.Tensor) -> tf.Tensor | None:
        g = self.generator
        return codes[:, g.synthesis.num_slots :] if g.label_size else None

    def _synthesize(
        self, latents: tf.Tensor, styles: tf.Tensor, noise: tf.Tensor, labels: tf.Tensor | None
    ) -> tf.Tensor:
        return self.generator.synthesize(styles, self.generator.split_noise(noise))

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
        """Generator step; the statistics hold the mean style, too."""
        with tf.GradientTape() as tape:
            labels = self._labels(codes[0])
            styles = self._styles(latents, codes[0])
            images = self._synthesize(latents, styles, noise[0], labels)
            scores, scores_reals = self._compared(
                images, labels, fakes_draws or {}, reals, reals_labels
            )
            total = tf.reduce_mean(loss.generator_adversarial_loss(scores, scores_reals))
        gradients = tape.gradient(total, self._g_vars, unconnected_gradients="zero")
        return gradients, {
            "loss_G": total,
            "scores/fake": tf.reduce_mean(scores),
            # The first slot is always the first latent's.
            _MEAN_STYLE: tf.reduce_mean(styles[:, 0], axis=0),
        }

    def _generator_step(self, *args: Any) -> Stats:
        stats = super()._generator_step(*args)
        mean, average = stats.pop(_MEAN_STYLE), self.generator.dlatent_avg
        moved = mean + AVERAGE_BETA * (average - mean)
        # A mean that is not finite once would stay so.
        average.assign(tf.where(tf.math.is_finite(moved), moved, average))
        return stats


_MEAN_STYLE = "mean_style"
