"""The command, from snapshot and TFRecord files to the result files, and its errors."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import run_metrics
from dnnlib.errors import UserError
from dnnlib.tflib.execution import Execution
from gan_fingerprints.work import evaluate as work
from gan_fingerprints.work.evaluate import network_stem
from gan_fingerprints.work.suites import short_names
from metrics.feature_extractors import VARIABLE
from metrics.sampling import make_context
from tests.support import made_up_inception
from tests.support.paths import REFERENCE
from training.models.snapshot import save_snapshot
from training.networks.configs import DecoderConfig, GeneratorConfig, PlainGeneratorConfig
from training.networks.decoder import Decoder
from training.networks.generator import Generator
from training.networks.plain_generator import PlainGenerator

NETWORK = str(REFERENCE / "snapshot_skip_resnet_32.pkl")
DATA = [f"--data-dir={REFERENCE / 'tfrecords'}", "--dataset=emoji12"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN_FINGERPRINTS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)


def small_networks(resolution: int) -> tuple[Generator, Decoder]:
    size = {"latent_size": 8, "fingerprint_size": 6, "fmap_base": 64, "fmap_max": 4}
    generator = Generator(
        GeneratorConfig(
            resolution=resolution,
            **size,
            dlatent_size=8,
            mapping_fmaps=8,
            mapping_layers=2,
            mapping_lrmul=1.0,
        ),
        seed=1,
    )
    for name, variable in generator.named_variables().items():
        if name.endswith("noise_strength"):
            variable.assign(0.5 * np.ones(variable.shape))
    return generator, Decoder(DecoderConfig(resolution=resolution, **size), seed=2)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A snapshot of small networks at 32x32."""
    path = tmp_path_factory.mktemp("network") / "network-snapshot-000012.pkl"
    generator, decoder = small_networks(32)
    save_snapshot(path, E=decoder, Gs=generator)
    return str(path)


def test_context_of_networks() -> None:
    generator, decoder = small_networks(16)
    context = make_context(generator=generator, decoder=decoder, seed=5)
    batch = context.generate(6, 12)
    assert batch.images_uint8.shape == (6, 16, 16, 3)
    expected = np.trunc(np.clip(127.5 * batch.images_float + 128, 0, 255))
    np.testing.assert_array_equal(batch.images_uint8, expected)
    assert set(np.unique(batch.bits)) == {0, 1}
    np.testing.assert_array_equal(context.generate(6, 12).images_uint8, batch.images_uint8)
    # The arguments alone decide what is drawn, and noise and latents differ between images.
    for other in (context.generate(6, 18), make_context(generator=generator).generate(6, 12)):
        assert not np.array_equal(other.bits, batch.bits)
        assert np.abs(other.images_float - batch.images_float).mean() > 0.01
    assert np.abs(batch.images_float[0] - batch.images_float[1]).mean() > 0.01
    logits = context.decode(batch.images_float)  # type: ignore[misc]
    np.testing.assert_allclose(logits, decoder(tf.constant(batch.images_float))[1], atol=1e-5)
    # A context follows networks that are being trained.
    decoder.named_variables()["Output/bias"].assign_add(np.full([14], 1000.0))
    assert (context.decode(batch.images_float) > 500).all()  # type: ignore[misc]
    with pytest.raises(ValueError, match="differ in fingerprint_size"):
        make_context(
            generator=generator, decoder=Decoder(DecoderConfig(resolution=16, fingerprint_size=7))
        )


def codes(*stream: int) -> tuple[np.ndarray, np.ndarray]:
    """Six latents and fingerprints for `small_networks`."""
    rng = np.random.default_rng(stream)
    return rng.standard_normal([6, 8], np.float32), rng.integers(0, 2, [6, 6], np.uint8)


def test_what_is_drawn_by_seed_and_number() -> None:
    """Figures can be compared over versions only if seeds go on meaning what they mean."""
    generator, _ = small_networks(16)
    context = make_context(generator=generator, seed=5)
    assert context.generate_pairs is not None
    (latents, bits), (other_latents, other_bits) = codes(5, 12), codes(5, 12, 1)
    size = sum(h * w for h, w in generator.noise_shapes)
    noise = generator.split_noise(tf.random.stateless_normal([6, size], [5, 12]))
    pairs = context.generate_pairs(6, 12)
    for batch, z, c in (
        (context.generate(6, 12), latents, bits),
        (pairs.other_fingerprint, latents, other_bits),
        (pairs.other_latent, other_latents, bits),
    ):
        np.testing.assert_array_equal(batch.bits, c)
        expected = generator(tf.constant(z), tf.constant(c, tf.float32), noise)
        np.testing.assert_allclose(batch.images_float, expected, atol=1e-5)
    # The other codes are others.
    assert 0.2 < np.mean(bits != other_bits) < 0.8
    assert np.abs(latents - other_latents).mean() > 0.5
    for other in (pairs.other_fingerprint, pairs.other_latent):
        changed = np.abs(other.images_float - context.generate(6, 12).images_float)
        assert (changed.mean(axis=(1, 2, 3)) > 1e-4).all()


@pytest.mark.slow
def test_every_path_measures_the_same_images() -> None:
    """Also where the minibatch is not full: three images of four, noise included."""
    generator, decoder = small_networks(16)
    plain = make_context(generator=generator, decoder=decoder, minibatch=4, seed=5)
    xla = make_context(
        generator=generator,
        decoder=decoder,
        minibatch=4,
        seed=5,
        execution=Execution("xla", "xla", True, "fp32"),
    )
    expected, batch = plain.generate(4, 8), xla.generate(4, 8)
    assert plain.generate_pairs is not None
    assert xla.generate_pairs is not None
    plain_pairs, pairs = plain.generate_pairs(4, 8), xla.generate_pairs(4, 8)
    for a, b in (
        (expected, batch),
        (plain_pairs.other_fingerprint, pairs.other_fingerprint),
        (plain_pairs.other_latent, pairs.other_latent),
    ):
        np.testing.assert_array_equal(a.bits, b.bits)
        np.testing.assert_allclose(a.images_float, b.images_float, atol=1e-4)
    for n in (4, 3):
        logits = xla.decode(batch.images_float[:n])  # type: ignore[misc]
        assert logits.shape == (n, 6)
        truth = plain.decode(batch.images_float[:n])  # type: ignore[misc]
        np.testing.assert_allclose(logits, truth, atol=1e-4)


def test_noise_is_fresh() -> None:
    generator, _ = small_networks(16)
    context = make_context(generator=generator)
    with_noise = context.generate(4, 0).images_float
    for name, variable in generator.named_variables().items():
        if name.endswith("noise_strength"):
            variable.assign(np.zeros(variable.shape))
    difference = context.generate(4, 0).images_float - with_noise
    assert np.abs(difference).mean() > 0.01
    assert np.abs(difference[0] - difference[1]).mean() > 0.01


@pytest.mark.slow
def test_whole_path(
    network: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made_up_inception.write(tmp_path / "graph.pb")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "graph.pb"))
    names = ["fid_watermark_accuracy_1k", "swd1k"]
    run_metrics.main(
        [f"--metrics={','.join(names)}", f"--network={network}", *DATA, "--num-gpus=0",
         "--mirror-augment=True", f"--result-dir={tmp_path / 'eval'}", "--seed=7"]
    )  # fmt: skip
    run_dir = tmp_path / "eval" / "00000-metrics-network-snapshot-000012"
    lines = capsys.readouterr().out.splitlines()
    assert (run_dir / "log.txt").read_text().splitlines() == lines
    number = r"(\d+\.\d{4}) *"
    accuracy = "_watermark_bit_accuracy"
    suffixes = ("_fid", accuracy, f"{accuracy}_uint8", f"{accuracy}_float")
    values = " ".join(f"{names[0]}{suffix} {number}" for suffix in suffixes)
    match = re.fullmatch(rf"network-snapshot-000012 {{8}}time \S+( \S+)* +{values}", lines[0])
    assert match
    assert re.search(rf" swd1k_32 {number} swd1k_16 {number} swd1k_avg {number}$", lines[1])
    for name, line in zip(names, lines, strict=True):
        assert (run_dir / f"metric-{name}.txt").read_text() == f"{line}\n"
    record = json.loads((run_dir / f"metric-{names[0]}.jsonl").read_text())
    assert record["values"][f"{names[0]}_fid"] > 0
    assert record["bits"] == 1000 * record["settings"]["fingerprint_size"]
    settings = record["settings"]
    assert (settings["seed"], settings["mirror_augment"]) == (7, True)
    assert (settings["dataset"], settings["network"]) == ("emoji12", network)
    assert settings["inception"] == str(tmp_path / "graph.pb")
    assert len(list((tmp_path / "cache").glob("fid-reals-*.npz"))) == 1


def test_skip_bad_records(network: str, tmp_path: Path) -> None:
    """What training left out, its evaluation can leave out as well."""
    source = Path(DATA[0].removeprefix("--data-dir=")) / "emoji12" / "emoji12-r05.tfrecords"
    content = bytearray(source.read_bytes())
    content[len(content) * 7 // 24] ^= 1  # in the middle of record 3
    (tmp_path / "data" / "emoji12").mkdir(parents=True)
    (tmp_path / "data" / "emoji12" / source.name).write_bytes(content)
    flags = [
        "--metrics=swd1k", f"--network={network}", f"--data-dir={tmp_path / 'data'}",
        "--dataset=emoji12", f"--result-dir={tmp_path / 'eval'}", "--ops=reference",
    ]  # fmt: skip
    with pytest.raises(UserError, match="record 3 .*emoji12-r05.tfrecords .*--skip-bad-records"):
        run_metrics.main(flags)
    run_metrics.main([*flags, "--skip-bad-records"])
    (results,) = (tmp_path / "eval").glob("*/metric-swd1k.jsonl")
    assert json.loads(results.read_text())["settings"]["dataset_images"] == 11


@pytest.mark.slow
def test_bit_accuracy_needs_no_data(
    network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = []
    for flags in ([], ["--seed=1", "--minibatch=100"], ["--ops=reference"]):
        run_metrics.main(
            ["--metrics=watermark_accuracy_1k", f"--network={network}", *flags,
             f"--result-dir={tmp_path}"]
        )  # fmt: skip
        figures.append(re.findall(r"0\.\d{4}", capsys.readouterr().out))
    assert len(figures[0]) == 3
    assert figures[0] != figures[1]
    assert figures[0] == figures[2]
    names = sorted(path.name for path in tmp_path.glob("*-metrics-*"))
    assert [name[:6] for name in names] == ["00000-", "00001-", "00002-"]
    (record,) = (tmp_path / names[1]).glob("*.jsonl")
    settings = json.loads(record.read_text())["settings"]
    assert (settings["seed"], settings["minibatch"], settings["dataset"]) == (1, 100, None)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--metrics=fud1k", "--network=missing.pkl"], "unknown metric 'fud1k'"),
        (["--metrics=none", f"--network={NETWORK}"], "nothing to do"),
        (["--metrics=swd1k", "--network=missing.pkl"], "missing.pkl"),
        (["--metrics=watermark_accuracy_1k", "--network=INSTANCE"], "is an instance: its one"),
        (["--metrics=fingerprint_visibility1k", "--network=INSTANCE"], "its one fingerprint is"),
        (["--metrics=swd1k", f"--network={NETWORK}"], "needs real images"),
        (["--metrics=swd1k", f"--network={NETWORK}", DATA[0], "--dataset=gone"], "gone"),
        (
            ["--metrics=swd1k", f"--network={REFERENCE / 'snapshot_resnet_skip_16.pkl'}", *DATA],
            "has 32x32 images of 3 channels, the network makes 16x16",
        ),
        (
            ["--metrics=fid1k", f"--network={NETWORK}", *DATA, "--inception=gone.pb"],
            "--inception=gone.pb",
        ),
    ],
)
def test_errors_come_before_any_work(tmp_path: Path, flags: list[str], message: str) -> None:
    instance = tmp_path / "instance.pkl"
    save_snapshot(
        instance, Gs=PlainGenerator(PlainGeneratorConfig(resolution=4, fmap_base=16), seed=0)
    )
    flags = [flag.replace("INSTANCE", str(instance)) for flag in flags]
    with pytest.raises(UserError, match=message):
        run_metrics.main([*flags, f"--result-dir={tmp_path / 'results'}"])
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("flag", ["--seed=-1", "--seed=4294967296", "--minibatch=0", "--metric=a"])
def test_bad_flags(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run_metrics.main(["--metrics=swd1k", "--network=x.pkl", flag])
    assert flag.partition("=")[0] in capsys.readouterr().err


def test_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(work, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_metrics.main(
            ["--metrics=watermark_accuracy_1k", f"--network={NETWORK}", f"--result-dir={tmp_path}"]
        )
    assert list(tmp_path.iterdir()) == []


def test_names_of_run_folders() -> None:
    for name, stem in (
        ("a/b/network-snapshot-000300.pkl", "network-snapshot-000300"),
        ("https://host/x/my%20net.pkl?download=1", "my_20net"),
        ("arrays.npz", "arrays"),
        ("plain", "plain"),
    ):
        assert network_stem(name) == stem


def suite(network: str, out: Path, *flags: str) -> None:
    """A suite of few pictures and licensees."""
    common = ["--num-images=4", "--licensees=4", "--ops=reference", f"--result-dir={out}"]
    run_metrics.main(["--suite=quality", f"--network={network}", *common, *flags])


def test_a_suite_goes_on_and_writes_its_report(
    network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "eval"
    # One metric is enough: what metrics measure is tested elsewhere.
    monkeypatch.setattr("evaluation.studies.quality.names_of_metrics", lambda *_: [])
    with monkeypatch.context() as patched:
        patched.setattr("evaluation.suites.quality", stop)
        with pytest.raises(KeyboardInterrupt):
            suite(network, out)
    (folder,) = out.iterdir()
    first = folder / "network-snapshot-000012" / "visibility.json"
    before = first.stat().st_mtime_ns
    suite(network, out)
    assert [path.name for path in out.iterdir()] == [folder.name]
    assert first.stat().st_mtime_ns == before
    printed = capsys.readouterr().out
    assert f"report: {folder / 'report.html'}" in printed
    assert len(printed.splitlines()) == 4
    assert "Quality was not compared with real pictures" in printed
    names = {path.name for path in folder.iterdir()}
    assert {"report.html", "results.json", "results.csv", "suite.json", "log.txt"} <= names
    # What is finished is not gone on with, and other settings are another suite.
    suite(network, out, "--seed=1")
    assert len(list(out.iterdir())) == 2
    found = json.loads((folder / "results.json").read_text())["models"][0]
    assert found["bits"] == 6
    assert found["results"]["quality"]["values"]["metrics"] == []
    assert "--dataset" in found["results"]["quality"]["values"]["missing"][0]


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ([], "either --metrics or --suite"),
        (["--suite=paper", "--metrics=fid1k"], "either --metrics or --suite"),
        (["--suite=paper", "--network=a", "--compare", "b"], "name the snapshot"),
        (["--metrics=fid1k", "--network=a", "--num-images=5"], "--num-images is for --suite"),
        (["--metrics=fid1k", "--compare", "a", "b"], "--compare is for --suite"),
        (["--metrics=fid1k", "--network=a", "--fpr=1e-3"], "--fpr is for --suite"),
        (["--suite=paper", "--network=a", "--minibatch=5"], "--minibatch is for --metrics"),
    ],
)
def test_flags_of_suites(flags: list[str], text: str) -> None:
    with pytest.raises(UserError, match=text):
        run_metrics.main(flags)


def test_two_files_of_one_name_have_two() -> None:
    assert short_names(["a/net.pkl", "b/net.pkl", "b/other.pkl"]) == ["net", "net-2", "other"]
