"""The training phases: gradients, accumulation, what each of them changes, random numbers."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.numpy_adam import NumpyAdam
from tests.support.small_steps import (
    BITS,
    GAMMA,
    LATENT,
    PHASES,
    RATES,
    STRENGTHS,
    WEIGHTS,
    make_reals,
    make_steps,
    make_weights,
    run_discriminator,
    run_r1,
    step_number,
)
from training import loss
from training.draws import known_fingerprints
from training.networks.layers import Network
from training.steps import Steps


def values(steps: Steps) -> dict[str, np.ndarray]:
    """All that training may change, by `network:variable`."""
    networks: dict[str, Network] = {
        "G": steps.generator,
        "D": steps.discriminator,
        "E": steps.decoder,
        "Gs": steps.average,
    }
    found = {
        f"{slot}:{name}": variable.numpy()
        for slot, network in networks.items()
        for name, variable in network.named_variables().items()
    }
    return {**found, "pl_mean": steps.pl_mean.numpy()}


def trainables(slot: str, network: Network) -> set[str]:
    return {f"{slot}:{name}" for name in network.named_trainables()}


@pytest.fixture(scope="module")
def traced() -> tuple[Steps, list[tf.Tensor]]:
    """Traced once for all tests, with the values that its variables start from."""
    steps = make_steps()
    return steps, [tf.identity(variable) for variable in steps.variables]


def restart(steps: Steps, start: list[tf.Tensor]) -> None:
    for variable, value in zip(steps.variables, start, strict=True):
        variable.assign(value)


@pytest.fixture
def shared(traced: tuple[Steps, list[tf.Tensor]]) -> Steps:
    """A new start in every test."""
    restart(*traced)
    return traced[0]


@pytest.fixture
def eager() -> Iterator[None]:
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


class Recorder:
    """Takes down what a Steps object draws and what it hands to its optimisers."""

    def __init__(self, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
        self.drawn: list[tuple[tf.Tensor, ...]] = []
        self.applied: dict[str, list[tuple[list[np.ndarray], float]]] = {"G": [], "D": [], "E": []}
        draw = steps._draw

        def recording_draw(*args: Any) -> tuple[tf.Tensor, ...]:
            self.drawn.append(draw(*args))
            return self.drawn[-1]

        monkeypatch.setattr(steps, "_draw", recording_draw)
        for slot, adam in (("G", steps.g_adam), ("D", steps.d_adam), ("E", steps.e_adam)):
            self._record(slot, adam.apply, adam, monkeypatch)

    def _record(self, slot: str, apply: Any, adam: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def recording_apply(gradients: list[tf.Tensor], rate: tf.Tensor) -> None:
            self.applied[slot].append(([g.numpy() for g in gradients], float(rate)))
            apply(gradients, rate)

        monkeypatch.setattr(adam, "apply", recording_apply)

    def gradients(self, *slots: str) -> list[np.ndarray]:
        """The newest gradients of these networks, one after the other."""
        return [g for slot in slots for g in self.applied[slot][-1][0]]


def assert_close(actual: Any, expected: Any, rtol: float = 2e-4) -> None:
    """Lists of gradients, compared in units of the largest entry of each."""
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * max(np.abs(b).max(), 1e-6))


def mean(parts: list[list[tf.Tensor]]) -> list[np.ndarray]:
    groups = zip(*parts, strict=True)
    return [np.mean([np.asarray(part) for part in group], axis=0) for group in groups]


def sum_of_squares(gradients: Any) -> float:
    return float(sum(np.sum(np.square(np.asarray(g, np.float64))) for g in gradients))


# Accumulation


def run_and_restore(steps: Steps, phase: str) -> dict[str, tf.Tensor]:
    """Runs a phase and puts the weights back to where the gradients were taken."""
    copies = [(v, v.numpy()) for v in (*steps._g_vars, *steps._e_vars, *steps._d_vars)]
    stats = PHASES[phase](steps, 2)
    assert any(not np.array_equal(variable, value) for variable, value in copies)
    for variable, value in copies:
        variable.assign(value)
    return stats


@pytest.mark.usefixtures("eager")
def test_accumulation_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Minibatch 8 in slices of 4: the mean of the slices' gradients and statistics."""
    steps = make_steps(minibatch=8)
    recorder = Recorder(steps, monkeypatch)
    stats = run_and_restore(steps, "generator")
    assert len(recorder.drawn) == 2
    assert not np.array_equal(recorder.drawn[0][0], recorder.drawn[1][0])
    slices = [steps.generator_gradients(*drawn, WEIGHTS) for drawn in recorder.drawn]
    assert_close(recorder.gradients("G", "E"), mean([gradients for gradients, _ in slices]))
    del stats["skipped/G"], stats["skipped/E"]  # the recorder applies nothing
    for name, value in stats.items():
        expected = np.mean([float(slice_stats[name]) for _, slice_stats in slices])
        assert float(value) == pytest.approx(expected, rel=1e-5)


def concatenated(drawn: list[tuple[tf.Tensor, ...]]) -> list[tf.Tensor]:
    """Latents, bits and noise of all slices as one batch."""
    return [tf.concat([part[i] for part in drawn], axis) for i, axis in enumerate((0, 1, 1))]


@pytest.mark.usefixtures("eager")
def test_accumulation_without_groups_is_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder sees every image alone, so that slices make no difference to it."""
    steps = make_steps(minibatch=8)
    recorder = Recorder(steps, monkeypatch)
    run_and_restore(steps, "generator")
    latents, bits, noise = concatenated(recorder.drawn)
    g = steps.generator
    with tf.GradientTape() as tape:
        decoded, logits = steps.decoder(g(latents, bits[0], g.split_noise(noise[0])))
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(bits[0], logits)
        total = 3 * tf.reduce_mean((decoded - latents) ** 2) + 4 * tf.reduce_mean(entropy)
    assert_close(recorder.gradients("E"), tape.gradient(total, steps._e_vars))


@pytest.mark.usefixtures("eager")
def test_accumulation_discriminator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of the minibatch standard deviation form inside each slice."""
    steps = make_steps(minibatch=8)
    recorder = Recorder(steps, monkeypatch)
    reals = make_reals(steps)
    d, g = steps.discriminator, steps.generator
    stats = run_and_restore(steps, "discriminator")
    fakes = [g(z, c[0], g.split_noise(noise[0])) for z, c, noise in recorder.drawn]
    with tf.GradientTape() as tape:
        scores_fakes = tf.concat([d(part) for part in fakes], 0)
        scores_reals = tf.concat([d(reals[:4]), d(reals[4:])], 0)
        total = tf.reduce_mean(tf.nn.softplus(scores_fakes) + tf.nn.softplus(-scores_reals))
    expected = tape.gradient(total, steps._d_vars)
    assert_close(recorder.gradients("D"), expected)
    assert float(stats["scores/fake"]) == pytest.approx(float(tf.reduce_mean(scores_fakes)), 1e-4)
    assert float(stats["scores/real"]) == pytest.approx(float(tf.reduce_mean(scores_reals)), 1e-4)
    # In one batch of 8 the groups of 4 would be other ones.
    whole, _ = steps.discriminator_gradients(*concatenated(recorder.drawn), reals)
    difference = [a - b for a, b in zip(whole, expected, strict=True)]
    assert sum_of_squares(difference) > 1e-4 * sum_of_squares(expected)


@pytest.mark.usefixtures("eager")
def test_accumulation_r1(monkeypatch: pytest.MonkeyPatch) -> None:
    """gamma/2 times the squared gradient, mean over slices, times the interval of 16."""
    steps = make_steps(minibatch=8)
    recorder = Recorder(steps, monkeypatch)
    reals, penalties = make_reals(steps), []
    stats = run_and_restore(steps, "r1")
    with tf.GradientTape() as tape:
        for part in (reals[:4], reals[4:]):
            with tf.GradientTape() as inner:
                inner.watch(part)
                score = tf.reduce_sum(steps.discriminator(part))
            penalties.append(GAMMA / 2 * tf.reduce_sum(inner.gradient(score, part) ** 2) / 4)
        total = 16 * tf.reduce_mean(penalties)
    expected = tape.gradient(total, steps._d_vars, unconnected_gradients="zero")
    assert_close(recorder.gradients("D"), expected)
    assert float(stats["gradient_penalty"]) == pytest.approx(float(total) / 16, rel=1e-4)


@pytest.mark.usefixtures("eager")
def test_accumulation_path_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of each slice; lengths are means over slices, and pl_mean moves once."""
    steps = make_steps(minibatch=8)
    steps.pl_mean.assign(0.3)
    recorder = Recorder(steps, monkeypatch)
    calls: list[tuple[tf.Tensor, ...]] = []
    pure = steps._compiled["path_length_gradients"]

    def recording(*inputs: tf.Tensor) -> Any:
        calls.append(inputs)
        assert float(steps.pl_mean) == pytest.approx(0.3)  # the same for every slice
        return pure(*inputs)

    monkeypatch.setitem(steps._compiled, "path_length_gradients", recording)
    stats = run_and_restore(steps, "path_length")
    assert len(calls) == 2
    assert not np.array_equal(calls[0][3], calls[1][3])
    g, lengths, penalties = steps.generator, [], []
    with tf.GradientTape() as tape:
        for latents, bits, noise, pixels in calls:
            assert latents.shape == [2, LATENT]
            assert pixels.shape == [2, 8, 8, 3]
            styles = g.map_fingerprints(bits[0])
            with tf.GradientTape() as inner:
                inner.watch(styles)
                images = g.synthesize(latents, styles, g.split_noise(noise[0]))
                projected = tf.reduce_sum(images * pixels / 8)
            slope = inner.gradient(projected, styles)
            length = tf.sqrt(tf.reduce_mean(tf.reduce_sum(slope**2, 2), 1))
            moved = 0.3 + 0.01 * (tf.reduce_mean(length) - 0.3)
            lengths.append(tf.reduce_mean(length))
            penalties.append(tf.reduce_mean(2 * (length - moved) ** 2))
        total = 4 * tf.reduce_mean(penalties)
    expected = tape.gradient(total, steps._g_vars, unconnected_gradients="zero")
    assert_close(recorder.gradients("G"), expected)
    mean_length = float(tf.reduce_mean(lengths))
    assert float(stats["pl_lengths"]) == pytest.approx(mean_length, rel=1e-4)
    assert float(stats["pl_penalty"]) == pytest.approx(float(total) / 4, rel=1e-4)
    assert float(steps.pl_mean) == pytest.approx(0.3 + 0.01 * (mean_length - 0.3), rel=1e-5)


def test_variables_are_all_that_a_checkpoint_needs() -> None:
    """Networks, average, moments and counts of three optimisers, the mean path length."""
    steps = make_steps()
    trained = len(steps._g_vars) + len(steps._d_vars) + len(steps._e_vars)
    networks = (steps.generator, steps.average, steps.discriminator, steps.decoder)
    count = sum(len(network.named_variables()) for network in networks)
    assert len(steps.variables) == count + 2 * trained + 3 + 2


def test_strength_of_the_augmentation_adapts() -> None:
    """p moves by minibatch / (ada_kimg * 1000), up while r = E[sign D(real)] is too large."""
    assert float(make_steps().augment_p) == 1.0  # where nothing adapts
    steps = make_steps(ada_kimg=0.05, ada_target=-2.0)  # r is always above
    assert float(steps.augment_p) == 0.0
    for number in range(3):
        run_discriminator(steps, number)
    assert float(steps.augment_p) == pytest.approx(3 * 4 / 50)
    steps = make_steps(ada_kimg=0.05, ada_target=2.0)  # always below
    steps.augment_p.assign(0.1)
    for number in range(3):
        run_discriminator(steps, number)
    assert float(steps.augment_p) == 0.0


def test_latents_are_read_from_untouched_pictures() -> None:
    """Edits change what the bits are read from, and nothing else."""
    steps = make_steps(channel="jpeg,noise,flip")
    stats = PHASES["generator"](steps, 0)
    plain = PHASES["generator"](make_steps(channel="clip"), 0)
    for name in ("loss_G", "loss_decouple", "loss_E_latents", "bit_accuracy"):
        assert float(stats[name]) == pytest.approx(float(plain[name]), rel=1e-4), name
    assert float(stats["loss_E_watermarks"]) != pytest.approx(
        float(plain["loss_E_watermarks"]), rel=1e-4
    )
    assert 0 <= float(stats["bit_accuracy_edited"]) <= 1
    assert "bit_accuracy_edited" not in plain


def test_slices_must_fill_the_minibatch() -> None:
    with pytest.raises(ValueError, match="multiple of minibatch_gpu"):
        make_steps(minibatch=6)


# Gradients of one slice


def draw(steps: Steps, calls: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    return steps._draw(step_number(0), "generator", 0, 4, calls)


def test_loss_is_the_weighted_sum(shared: Steps) -> None:
    """Every weight has its own part; together they make the gradient."""
    inputs = draw(shared, 2)
    base, stats = shared.generator_gradients(*inputs, make_weights(0, 0, 0))
    assert sum_of_squares(base[: len(shared._g_vars)]) > 0
    assert sum_of_squares(base[len(shared._g_vars) :]) == 0
    expected = [np.asarray(g) for g in base]
    for weight, unit in zip((2, 3, 4), np.eye(3), strict=True):
        found, _ = shared.generator_gradients(*inputs, make_weights(*unit))
        part = [a - b for a, b in zip(found, base, strict=True)]
        assert sum_of_squares(part) > 0
        expected = [a + weight * b for a, b in zip(expected, part, strict=True)]
    assert_close(shared.generator_gradients(*inputs, WEIGHTS)[0], expected)
    assert set(stats) == {
        "loss_G", "loss_decouple", "loss_E_latents", "loss_E_watermarks", "scores/fake",
        "bit_accuracy",
    }  # fmt: skip


def test_statistics_of_the_generator_step(shared: Steps) -> None:
    """Two generator calls that differ in fingerprint and noise; the first one is decoded."""
    g, (latents, bits, noise) = shared.generator, draw(shared, 2)
    assert not np.array_equal(bits[0], bits[1])
    assert np.abs(noise[0] - noise[1]).mean() > 0.5
    _, stats = shared.generator_gradients(latents, bits, noise, WEIGHTS)
    images, others = (g(latents, bits[i], g.split_noise(noise[i])) for i in (0, 1))
    decoded, logits = (value.numpy() for value in shared.decoder(images))
    c = bits[0].numpy()
    entropy = np.logaddexp(0, -logits) * c + np.logaddexp(0, logits) * (1 - c)
    scores = shared.discriminator(images).numpy()
    for name, expected in {
        "loss_G": np.logaddexp(0, -scores).mean(),
        "loss_decouple": np.mean((images - others) ** 2),
        "loss_E_latents": np.mean((latents - decoded) ** 2),
        "loss_E_watermarks": entropy.mean(),
        "scores/fake": scores.mean(),
        "bit_accuracy": np.mean((logits > 0) == (c > 0)),
    }.items():
        assert float(stats[name]) == pytest.approx(expected, rel=1e-4), name


def test_decoder_may_see_clipped_images(shared: Steps) -> None:
    """The option changes what the decoder sees, and nothing else."""
    latents, bits, noise = draw(shared, 2)
    images = shared.generator(latents, bits[0], shared.generator.split_noise(noise[0])).numpy()
    assert np.abs(images).max() > 1
    seen = make_steps(channel="clip").generator_gradients(latents, bits, noise, WEIGHTS)[1]
    plain = shared.generator_gradients(latents, bits, noise, WEIGHTS)[1]
    decoded = shared.decoder(tf.constant(np.clip(images, -1, 1)))[0]
    expected = float(tf.reduce_mean((latents - decoded) ** 2))
    assert float(seen["loss_E_latents"]) == pytest.approx(expected, rel=1e-4)
    assert float(plain["loss_E_latents"]) != pytest.approx(expected, rel=1e-4)
    for name in ("loss_G", "loss_decouple", "scores/fake"):
        assert float(seen[name]) == pytest.approx(float(plain[name]), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["generator", "discriminator"])
def test_xla_changes_nothing(shared: Steps, phase: str) -> None:
    """The compiled phase has the gradients of the eager one."""
    latents, bits, noise = draw(shared, 2)
    pure, inputs = shared.generator_gradients, (latents, bits, noise, WEIGHTS)
    if phase == "discriminator":
        pure, inputs = shared.discriminator_gradients, (latents, bits, noise, make_reals(shared))
    gradients, stats = pure(*inputs)
    compiled = tf.function(pure, jit_compile=True, autograph=False)
    compiled_gradients, compiled_stats = compiled(*inputs)
    assert_close(compiled_gradients, gradients, rtol=1e-3)
    for name, value in stats.items():
        assert float(compiled_stats[name]) == pytest.approx(float(value), rel=1e-3, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("impl", ["xla", "compiled"])
def test_paths_have_equal_gradients(impl: str) -> None:
    """Every phase, with layers wide enough for all forms that XLA is given (not compiled here)."""
    steps = make_steps(resolution=16, fmap_base=2048, fmap_max=128)
    networks = (steps.generator, steps.discriminator, steps.decoder)
    latents, bits, noise = draw(steps, 2)
    rng = np.random.default_rng(4)
    pixels = tf.constant(rng.standard_normal([4, 16, 16, 3]), tf.float32)
    reals = make_reals(steps)

    def gradients(path: str) -> dict[str, list[tf.Tensor]]:
        for network in networks:
            network.run_with(path)
        return {
            "generator": steps.generator_gradients(latents, bits, noise, WEIGHTS)[0],
            "path_length": steps.path_length_gradients(latents, bits, noise, pixels)[0],
            "discriminator": steps.discriminator_gradients(latents, bits, noise, reals)[0],
            "r1": steps.r1_gradients(reals)[0],
        }

    expected, found = gradients("reference"), gradients(impl)
    for phase in expected:
        assert_close(found[phase], expected[phase], rtol=1e-3)


def test_bf16_shortens_what_convolutions_read() -> None:
    steps = make_steps()
    images = make_reals(steps)
    exact = steps.discriminator(images)
    steps.discriminator.run_with("reference", "bf16")
    short = steps.discriminator(images)
    assert short.dtype == tf.float32
    difference = np.abs(short - exact).max() / np.abs(exact).max()
    assert 1e-6 < difference < 0.05
    steps.discriminator.run_with("reference", "fp32")
    np.testing.assert_array_equal(steps.discriminator(images), exact)


def test_minibatches_of_one_call_do_not_mix() -> None:
    """The minibatch standard deviation of one sees nothing of the other."""
    steps = make_steps()
    first, second = make_reals(steps), -0.5 * make_reals(steps)
    both = steps.discriminator(tf.concat([first, second], 0), minibatches=2)
    apart = tf.concat([steps.discriminator(first), steps.discriminator(second)], 0)
    np.testing.assert_allclose(both, apart, rtol=1e-4, atol=1e-5)
    assert np.abs(steps.discriminator(tf.concat([first, second], 0)) - apart).max() > 1e-4


def test_jit_option(shared: Steps) -> None:
    """XLA compiles the phases if asked for, and only then."""
    for steps, jit in ((shared, False), (make_steps(jit=True), True)):
        assert len(steps._compiled) == 4
        for function in steps._compiled.values():
            assert bool(function._jit_compile) is jit


def test_traces_are_counted() -> None:
    """A step is traced at its first call, and again for a minibatch of another size."""
    steps = make_steps(resolution=4)
    assert steps.num_traces() == 0
    reals = make_reals(steps)
    counts = []
    for given in (reals, 0.5 * reals, reals, tf.concat([reals, reals], 0)):
        run_r1(steps, 0, given)
        counts.append(steps.num_traces())
    # The step and its compiled phase; of eight images the phase still sees the first four.
    assert counts == [2, 2, 2, 3]


# Updates


@pytest.mark.slow
def test_phases_change_exactly_what_they_should(shared: Steps) -> None:
    steps = shared
    g = trainables("G", steps.generator)
    d = trainables("D", steps.discriminator)
    e = trainables("E", steps.decoder)
    average = trainables("Gs", steps.average)
    noise = {f"Gs:{name}" for name in steps.average.named_variables() if "/noise" in name} - average
    assert len(noise) == 3
    # Path lengths do not depend on what is added last, R1 not on what is added behind the minibatch
    # standard deviation (leaky ReLU is linear in pieces).
    last = {name for name in g if name.endswith("ToRGB/bias")}
    assert len(last) == 2
    behind = {"D:Output/bias", "D:4x4/Dense0/bias", "D:4x4/Conv/bias"}
    for phase, changed in {
        "generator": g | e,
        "path_length": (g - last) | {"pl_mean"},
        "discriminator": d | average | noise,
        "r1": d - behind,
    }.items():
        before = values(steps)
        stats = PHASES[phase](steps, 0)
        after = values(steps)
        found = {name for name in before if not np.array_equal(before[name], after[name])}
        assert found == changed, phase
        assert all(value.shape == () for value in stats.values())


@pytest.mark.usefixtures("eager")
def test_updates_are_lazily_regularised_adam(monkeypatch: pytest.MonkeyPatch) -> None:
    """lr*c, beta**c with c = 4/5 for G and E, 16/17 for D; a regulariser shares its network's."""
    steps = make_steps()
    recorder = Recorder(steps, monkeypatch)
    networks = {"G": steps._g_vars, "E": steps._e_vars, "D": steps._d_vars}
    ratio = {"G": 4 / 5, "E": 4 / 5, "D": 16 / 17}
    rate = dict(zip(networks, (0.01, 0.02, 0.03), strict=True))
    expected = {
        slot: NumpyAdam([v.numpy() for v in variables], 0.0, 0.99 ** ratio[slot], 1e-8)
        for slot, variables in networks.items()
    }
    for iteration in range(2):
        for phase in ("generator", "path_length", "discriminator", "r1"):
            PHASES[phase](steps, iteration)
    assert {slot: len(calls) for slot, calls in recorder.applied.items()} == {
        "G": 4, "E": 2, "D": 4,
    }  # fmt: skip
    for slot, calls in recorder.applied.items():
        for gradients, used in calls:
            assert used == pytest.approx(rate[slot] * ratio[slot], rel=1e-5)
            expected[slot].apply(gradients, rate[slot] * ratio[slot])
        for variable, value in zip(networks[slot], expected[slot].values, strict=True):
            np.testing.assert_allclose(variable, value, rtol=1e-4, atol=1e-5, err_msg=variable.name)


def test_average_follows_the_generator(shared: Steps) -> None:
    before = {name: v.numpy() for name, v in shared.average.named_variables().items()}
    PHASES["discriminator"](shared, 0)
    theirs = shared.generator.named_variables()
    for name, variable in shared.average.named_variables().items():
        expected = theirs[name].numpy()
        if variable.trainable:
            expected = 0.9 * before[name] + 0.1 * expected
        np.testing.assert_allclose(variable, expected, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_bits_are_learnt(shared: Steps) -> None:
    """A few hundred generator steps bring the bits through, against a discriminator at rest."""
    weights = make_weights(0.0, 0.0, 10.0)
    accuracies, losses = [], []
    for iteration in range(400):
        stats = shared.generator_step(step_number(iteration), RATES, weights, STRENGTHS)
        accuracies.append(float(stats["bit_accuracy"]))
        losses.append(float(stats["loss_E_watermarks"]))
    assert np.mean(accuracies[:20]) < 0.65
    assert np.mean(accuracies[-50:]) > np.mean(accuracies[:20]) + 0.1
    assert np.mean(losses[-50:]) < 0.9 * np.mean(losses[:20])


# Random numbers


def iterate(steps: Steps, iterations: int) -> dict[str, np.ndarray]:
    for iteration in range(iterations):
        for phase in ("generator", "path_length", "discriminator", "r1"):
            PHASES[phase](steps, iteration)
    return values(steps)


def test_seed_and_step_decide(traced: tuple[Steps, list[tf.Tensor]], shared: Steps) -> None:
    """Nothing but variables carries over from one iteration to the next."""
    first = iterate(shared, 3)
    restart(*traced)
    for name, value in iterate(shared, 3).items():
        np.testing.assert_array_equal(value, first[name], err_msg=name)


@pytest.mark.usefixtures("eager")
def test_seeds_in_different_objects() -> None:
    first, again, other = (iterate(make_steps(seed=seed, resolution=4), 3) for seed in (1, 1, 2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name], err_msg=name)
    changed = {name for name in first if not np.array_equal(first[name], other[name])}
    for slot in ("G", "D", "E", "Gs"):
        assert [name for name in changed if name.startswith(f"{slot}:")]


def test_draws_differ_and_are_as_distributed(shared: Steps) -> None:
    """By step, phase, slice and seed; and nothing else decides."""
    flat = sum(h * w for h, w in shared.generator.noise_shapes)
    steps = make_steps(minibatch=128, minibatch_gpu=64)
    other = make_steps(minibatch=128, minibatch_gpu=64, seed=2)
    seen = []
    for source, step, phase, part in (
        (steps, 0, "generator", 0),
        (steps, 0, "generator", 1),
        (steps, 0, "path_length", 0),
        (steps, 0, "discriminator", 0),
        (steps, 1, "generator", 0),
        (other, 0, "generator", 0),
    ):
        inputs = source._draw(step_number(step), phase, part, 64, 2)
        assert [value.shape for value in inputs] == [[64, LATENT], [2, 64, BITS], [2, 64, flat]]
        for value, again in zip(
            inputs, source._draw(step_number(step), phase, part, 64, 2), strict=True
        ):
            np.testing.assert_array_equal(value, again)
        seen.append([value.numpy() for value in inputs])
    for i, one in enumerate(seen):
        for two in seen[:i]:
            assert all(not np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    latents, bits, noise = (np.stack(group) for group in zip(*seen, strict=True))
    assert set(np.unique(bits)) == {0.0, 1.0}
    assert abs(bits.mean() - 0.5) < 4 * 0.5 / np.sqrt(bits.size)
    for normal in (latents, noise):
        assert abs(normal.mean()) < 4 / np.sqrt(normal.size)
        assert abs(normal.std() - 1) < 4 / np.sqrt(2 * normal.size)


def test_path_length_weight_is_that_of_the_paper() -> None:
    assert (loss.PATH_LENGTH_WEIGHT, loss.PATH_LENGTH_DECAY) == (2.0, 0.01)


def test_few_distinct_fingerprints() -> None:
    """Only those that are known, all of them, and nothing else is drawn differently."""
    free, few = make_steps(), make_steps(distinct_fingerprints=3)
    drawn = [
        [s._draw(step_number(i), "generator", 0, 4, 2) for i in range(12)] for s in (free, few)
    ]
    for one, other in zip(*drawn, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[2], other[2])
    every, known = (
        {tuple(row) for _, bits, _ in found for row in bits.numpy().reshape(-1, BITS)}
        for found in drawn
    )
    assert len(known) == 3
    assert len(every) > 20
    assert known == {tuple(row) for row in known_fingerprints(1, 3, BITS).astype(float)}
    # The two fingerprints of a pair are drawn apart.
    pairs = [bits.numpy() for _, bits, _ in drawn[1]]
    assert any((first != second).any() for first, second in pairs)
