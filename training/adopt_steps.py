"""One step of adopting: what fingerprints add to a frozen generator, and a decoder, are trained."""

import math
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from dnnlib.tflib.execution import Execution
from training import loss
from training.adam import Adam
from training.channels import Channel, Draws
from training.draws import draw_inputs
from training.models.functions import split_codes
from training.networks.adopted import AdoptedGenerator
from training.networks.decoder import Decoder
from training.networks.stylegan2 import StyleGAN2Discriminator
from training.ramps import Ramp, value_at

Stats = dict[str, tf.Tensor]


@dataclass(frozen=True)
class AdoptWeights:
    """Weights of the losses beside that of the bits, which is 1; and the strength of the edits."""

    distance: Ramp  # to the original's picture of the same latent, label and noise
    realism: float  # of the discriminator's judgement; 0: it is not asked
    edit_strength: Ramp
    variety: Ramp  # of the pictures: how far styles lie from their mean, 1 as in use

    def at(self, kimg: float) -> list[float]:
        """Distance at least and at most, strength and variety after so many thousand pictures."""
        ramps = (self.distance, self.edit_strength, self.variety)
        return [value_at(self.distance, 0), *(value_at(ramp, kimg) for ramp in ramps)]


def distance_weight(bits_loss: tf.Tensor, least: tf.Tensor, most: tf.Tensor) -> tf.Tensor:
    """A ramp of the distance goes as far as bits are read: no pictures without a fingerprint.

    Args:
        bits_loss: cross-entropy, 0 where all bits are read, log 2 where they are guessed.
        least: where the ramp begins.
        most: where it has come to.
    """
    read = tf.clip_by_value(1 - tf.stop_gradient(bits_loss) / math.log(2), 0, 1)
    return least + (most - least) * tf.square(read)


class AdoptSteps(tf.Module):
    """Owns the optimiser and runs the steps.

    The loss is that of bits behind the channel (Yu et al., arXiv 2012.08726, equation 4) and, in
    place of realism and of the latent, the squared distance to the picture that the original makes
    of the same inputs: the original is the teacher, and no data set is needed.

    Args:
        generator: its frozen part stays.
        decoder: is trained.
        discriminator: of the original; None: it does not judge.
        channel: what pictures go through before the decoder.
        weights: of the losses.
        minibatch: pictures N per step.
        seed: of everything random.
        execution: how the networks run.
    """

    def __init__(
        self,
        generator: AdoptedGenerator,
        decoder: Decoder,
        discriminator: StyleGAN2Discriminator | None,
        channel: Channel,
        weights: AdoptWeights,
        *,
        minibatch: int,
        seed: int,
        execution: Execution,
    ) -> None:
        super().__init__()
        self._generator, self._decoder, self._channel = generator, decoder, channel
        self._discriminator = discriminator if weights.realism else None
        self._weights = weights
        self._minibatch, self._seed = minibatch, seed
        for network in (generator, decoder, self._discriminator):
            if network is not None:
                network.run_with(execution.impl, execution.precision)
        trained = {f"G/{name}": v for name, v in generator.named_trainables().items()}
        trained |= {f"E/{name}": v for name, v in decoder.named_trainables().items()}
        self._variables = tuple(trained.values())
        self.adam = Adam(trained, beta1=0.9)
        self._gradients = tf.function(self.gradients, jit_compile=execution.jit, autograph=False)
        self._update = tf.function(self._draw_and_update, autograph=False)

    def gradients(
        self,
        latents: tf.Tensor,
        codes: tf.Tensor,
        noise: tf.Tensor,
        draws: Draws,
        distance: tuple[tf.Tensor, tf.Tensor],
        variety: tf.Tensor,
    ) -> tuple[list[tf.Tensor], Stats]:
        """Gradients of the loss.

        Args:
            latents: [N,Z].
            codes: [1,N,B+C], bits and labels.
            noise: [1,N,sum h*w].
            draws: of the channel.
            distance: weight of the distance to the original, at least and at most.
            variety: the psi of a truncation of all slots.
        """
        g = self._generator
        bits, labels = split_codes(g, codes[0])
        maps = g.split_noise(noise[0])
        styles = g.map_latents(latents, labels)
        styles = g.dlatent_avg + variety * (styles - g.dlatent_avg)
        original = g.synthesize(styles, maps)
        with tf.GradientTape() as tape:
            made = g.synthesize(styles, maps, g.shifts(bits))
            images = tf.clip_by_value(made, -1, 1)
            received = self._channel.apply(made, draws)
            if self._channel.spares_latent:
                _, logits = self._decoder(tf.concat([images, received], 0))
                clean, edited = tf.split(logits, 2)
                bits_loss = loss.bits_loss(bits, clean) + loss.bits_loss(bits, edited)
                bits_loss = tf.reduce_mean(bits_loss) / 2
            else:
                _, clean = self._decoder(images)
                edited = clean
                bits_loss = tf.reduce_mean(loss.bits_loss(bits, clean))
            # Not of clipped pictures: what lies outside would have no gradient.
            far = tf.reduce_mean(loss.decouple_loss(made, original))
            total = bits_loss + distance_weight(bits_loss, *distance) * far
            stats = {"loss_bits": bits_loss, "loss_distance": far}
            if self._discriminator is not None:
                scores = self._discriminator(made, labels)
                realism = tf.reduce_mean(loss.generator_adversarial_loss(scores))
                total += self._weights.realism * realism
                stats["loss_realism"] = realism
        gradients = tape.gradient(total, self._variables, unconnected_gradients="zero")
        return gradients, {
            **stats,
            "bit_accuracy": loss.bit_accuracy(bits, clean),
            "bit_accuracy_edited": loss.bit_accuracy(bits, edited),
        }

    def _draw_and_update(
        self,
        step: tf.Tensor,
        rate: tf.Tensor,
        least: tf.Tensor,
        most: tf.Tensor,
        strength: tf.Tensor,
        variety: tf.Tensor,
    ) -> Stats:
        seed = tf.constant(self._seed, tf.int64)
        d = self._decoder
        shape = (self._minibatch, d.resolution, d.resolution, d.num_channels)
        drawn = draw_inputs(self._generator, tf.stack([seed, step]), self._minibatch, 1)
        draws = self._channel.draw(shape, tf.stack([seed, -1 - step]), strength)
        gradients, stats = self._gradients(*drawn, draws, (least, most), variety)
        self.adam.apply(gradients, rate)
        return stats

    def step(self, step: tf.Tensor, rate: tf.Tensor) -> Stats:
        """See `step_loop.Steps`."""
        numbers = self._weights.at(int(step) * self._minibatch / 1000)
        return self._update(step, rate, *(tf.constant(value, tf.float32) for value in numbers))

    def num_updates(self) -> int:
        """See `step_loop.Steps`."""
        return int(self.adam.updates)

    def variables_by_name(self) -> dict[str, Any]:
        """See `step_loop.Steps`."""
        trained = {f"G/{n}": v for n, v in self._generator.named_trainables().items()}
        trained |= {f"E/{n}": v for n, v in self._decoder.named_variables().items()}
        return trained | {f"adam/{n}": v for n, v in self.adam.named_state().items()}
