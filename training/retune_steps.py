"""One step of retuning: the decoder learns from pictures of a generator that stays as it is."""

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from dnnlib.pixels import centred
from dnnlib.tflib.execution import Execution
from training import loss
from training.adam import Adam
from training.channels import Channel, Draws
from training.draws import draw_inputs
from training.models.functions import make_images, to_uint8
from training.networks.decoder import Decoder
from training.networks.table import Fingerprinted

Stats = dict[str, tf.Tensor]

CLEAN_WEIGHT = 0.5  # of the bits of untouched pictures, beside 1 of those behind the edits
LATENT_WEIGHT = 0.1  # of the latent, read from untouched pictures


@dataclass(frozen=True)
class StepInputs:
    """Random inputs of one step."""

    latents: tf.Tensor  # [N,Z]
    codes: tf.Tensor  # [1,N,B] of 0 and 1, of an adopted generator with labels behind them
    noise: tf.Tensor  # [1,N,sum h*w]
    draws: Draws  # of the channel


class RetuneSteps(tf.Module):
    """Owns the optimiser and runs the steps.

    Args:
        generator: makes the pictures; its weights stay.
        decoder: is trained.
        channel: edits, between the two; they spare the latent.
        minibatch: pictures N per step.
        seed: of everything random.
        execution: how the networks run.
    """

    def __init__(
        self,
        generator: Fingerprinted,
        decoder: Decoder,
        channel: Channel,
        *,
        minibatch: int,
        seed: int,
        execution: Execution,
    ) -> None:
        super().__init__()
        self._generator, self._decoder, self._channel = generator, decoder, channel
        self._minibatch, self._seed = minibatch, seed
        for network in (generator, decoder):
            network.run_with(execution.impl, execution.precision)
        trained = decoder.named_trainables()
        self._variables = tuple(trained.values())
        self.adam = Adam(trained, beta1=0.9)
        self._gradients = tf.function(self.gradients, jit_compile=execution.jit, autograph=False)
        self.step = tf.function(self._step, autograph=False)

    def draw(self, step: tf.Tensor) -> StepInputs:
        """The inputs of a step, which follow from the seed and its number, int64."""
        seed = tf.constant(self._seed, tf.int64)
        d = self._decoder
        shape = (self._minibatch, d.resolution, d.resolution, d.num_channels)
        drawn = draw_inputs(self._generator, tf.stack([seed, step]), self._minibatch, 1)
        return StepInputs(
            *drawn, self._channel.draw(shape, tf.stack([seed, -1 - step]), tf.constant(1.0))
        )

    def gradients(
        self, latents: tf.Tensor, codes: tf.Tensor, noise: tf.Tensor, draws: Draws
    ) -> tuple[list[tf.Tensor], Stats]:
        """Gradients of the decoder's loss; pictures are rounded to 8 bits before they are edited.

        The bits are read from pictures behind the edits and from untouched ones, the latent from
        untouched ones alone (Yu et al., arXiv 2012.08726, equations 3 and 4).
        """
        g, n = self._generator, self._minibatch
        made = make_images(g, latents, codes[0], g.split_noise(noise[0]))
        bits = codes[0, :, : g.fingerprint_size]
        images = centred(tf.cast(to_uint8(made), tf.float32))
        received = self._channel.apply(images, draws)
        with tf.GradientTape() as tape:
            found = self._decoder.recover(tf.concat([images, received], 0))
            clean, edited = tf.split(found.logits, 2)
            parts = {
                "bits": tf.reduce_mean(loss.bits_loss(bits, edited)),
                "bits_clean": tf.reduce_mean(loss.bits_loss(bits, clean)),
                "latent": tf.reduce_mean(loss.latent_loss(latents, found.latents[:n])),
            }
            total = parts["bits"] + CLEAN_WEIGHT * parts["bits_clean"]
            total += LATENT_WEIGHT * parts["latent"]
            if self._decoder.label_size:
                labels = codes[0, :, g.fingerprint_size :]
                total += LATENT_WEIGHT * tf.reduce_mean(loss.label_loss(labels, found.labels[:n]))
        gradients = tape.gradient(total, self._variables, unconnected_gradients="zero")
        return gradients, {
            **parts,
            "bit_accuracy": loss.bit_accuracy(bits, clean),
            "bit_accuracy_edited": loss.bit_accuracy(bits, edited),
        }

    def _step(self, step: tf.Tensor, rate: tf.Tensor) -> Stats:
        inputs = self.draw(step)
        gradients, stats = self._gradients(inputs.latents, inputs.codes, inputs.noise, inputs.draws)
        self.adam.apply(gradients, rate)
        return stats

    def num_updates(self) -> int:
        """How often the decoder was changed; a step whose gradients are not finite is skipped."""
        return int(self.adam.updates)

    def variables_by_name(self) -> dict[str, Any]:
        """Everything that the steps change, by names that do not change."""
        state = {f"adam/{name}": v for name, v in self.adam.named_state().items()}
        return state | {f"E/{name}": v for name, v in self._decoder.named_variables().items()}
