"""The published outputs, losses and gradients are met, and the check sees when they are not."""

import subprocess
import sys

import numpy as np
import pytest

from dnnlib.errors import UserError
from tests import check_reference
from tests.support.paths import ROOT
from tests.support.reference_networks import build_networks

FILES = sorted(
    path.name
    for pattern in ("networks_*.npz", "ops.npz")
    for path in (ROOT / "tests" / "data" / "reference").glob(pattern)
)
SMALL = "networks_resnet_skip_16.npz"


assert len(FILES) >= 4


def load(reference, name=SMALL):
    with np.load(reference / name) as archive:
        return dict(archive)


def failures(arrays, tmp_path, capsys):
    """Names of the lines that fail; the status has to say the same."""
    path = tmp_path / "changed.npz"
    np.savez(path, **arrays)
    with pytest.raises(SystemExit) as stop:
        check_reference.main([str(path)])
    assert stop.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    return {line.split()[2] for line in lines if line.startswith("FAIL")}


@pytest.mark.parametrize("name", FILES)
def test_every_published_result_is_met(reference, capsys, name):
    check_reference.main([str(reference / name)])
    lines = capsys.readouterr().out.splitlines()
    assert " compared, 0 failed" in lines[-1]
    if name.startswith("networks"):
        wanted = {
            key for key in load(reference, name) if key.startswith(("out/", "loss/", "grad/"))
        }
    else:
        results = ("/y", "/dx", "/db", "/d2x")
        wanted = {key for key in load(reference, name) if key.endswith(results)}
    assert len(wanted) > 50
    assert {line.split()[2] for line in lines[1:-1]} == wanted


@pytest.mark.parametrize("name", FILES)
def test_compiled_operations_meet_every_published_result(reference, capsys, name):
    check_reference.main(["--ops=compiled", str(reference / name)])
    assert " compared, 0 failed" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_forms_for_xla_meet_every_published_result(reference, name):
    """Without the compiler, which would take minutes; one file goes through it below."""
    deviations = check_reference.check(load(reference, name), name, "xla-eager")
    assert len(deviations) > 50
    assert not [deviation for deviation in deviations if deviation.failed]


@pytest.mark.slow
def test_xla_meets_the_published_results(reference, capsys):
    check_reference.main(["--ops=xla", str(reference / SMALL)])
    assert " compared, 0 failed" in capsys.readouterr().out.splitlines()[-1]


def test_deviating_networks_file_fails(reference, tmp_path, capsys):
    arrays = load(reference)
    arrays["out/images"][3, 1, 2, 5] += 2e-4
    arrays["loss/D_r1"] += 2e-4
    spoilt = "grad/G_pl/G/G_mapping/Dense0/weight"
    arrays[spoilt].flat[7] += 2e-3 * np.abs(arrays[spoilt]).max()
    removed = "grad/EG/E/Output/bias"
    del arrays[removed]
    invented = "grad/D/D/Output/mod_bias"
    arrays[invented] = np.ones(1, np.float32)
    expected = {"out/images", "loss/D_r1", spoilt, removed, invented}
    assert failures(arrays, tmp_path, capsys) == expected


def test_variables_have_to_be_the_same(reference, tmp_path, capsys):
    arrays = load(reference)
    arrays["G/G_synthesis/4x4/Constant"] = arrays.pop("G/G_synthesis/4x4/Conv/bias")
    arrays["D/Output/weight"] = arrays["D/Output/weight"].T
    assert failures(arrays, tmp_path, capsys) == {
        "G/G_synthesis/4x4/Constant",
        "G/G_synthesis/4x4/Conv/bias",
        "D/Output/weight",
    }


def test_sizes_are_taken_from_the_file(reference):
    arrays = load(reference)
    for layer in range(2, 8):
        del arrays[f"G/G_mapping/Dense{layer}/weight"]
    arrays["G/G_mapping/Dense0/weight"] = np.ones([8, 13])
    arrays["G/G_mapping/Dense1/weight"] = np.ones([13, 11])
    arrays["reals"] = arrays["reals"][:, :1]
    arrays["meta"] = np.array([8, 64, 16, 5, 8, 7, 100, 2])
    networks = build_networks(arrays, "the file")
    kwargs = networks["G"].kwargs
    names = ("mapping_layers", "mapping_fmaps", "dlatent_size", "latent_size", "fingerprint_size")
    assert [kwargs[name] for name in names] == [2, 13, 11, 5, 8]
    assert (kwargs["modulated_min_log2"], kwargs["modulated_max_log2"]) == (2, 6)
    for network in networks.values():
        names = ("resolution", "num_channels", "fmap_base", "fmap_max")
        assert [network.kwargs[name] for name in names] == [8, 1, 64, 16]
    assert [networks[name].kwargs["architecture"] for name in "GED"] == ["resnet", "skip", "skip"]


def test_deviating_ops_file_fails(reference, tmp_path, capsys):
    arrays = load(reference, "ops.npz")
    spoilt = {
        "upfirdn_2d/4/y": 2e-4,
        "upfirdn_2d/3/dx": 0.1,
        "conv_downsample_2d/2/y": 2e-4,
        "fused_bias_act/relu/1/d2x": 1e-5,  # zero in the file
        "fused_bias_act/swish/0/d2x": 0.1,
        "fused_bias_act/tanh/0/db": np.nan,
    }
    for name, change in spoilt.items():
        arrays[name].flat[0] += change
    assert failures(arrays, tmp_path, capsys) == set(spoilt)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("out/scores"), "out/scores is missing"),
        (lambda arrays: arrays.pop("pl_noise"), "pl_noise is missing"),
        (lambda arrays: arrays.pop("meta"), "neither layout"),
        (lambda arrays: arrays.update(meta=np.arange(5)), "meta should hold 8 numbers"),
        (lambda arrays: arrays.update(D_architecture="dense"), "architecture='dense'"),
        (lambda arrays: arrays.update({"loss/GP": np.ones(3)}), "loss/GP is no array"),
    ],
)
def test_other_layouts_of_networks_are_refused(reference, tmp_path, change, message):
    arrays = load(reference)
    change(arrays)
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(UserError, match=message):
        check_reference.main([str(tmp_path / "other.npz")])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("upfirdn_2d/3/y"), "upfirdn_2d/3/y is missing"),
        (lambda arrays: arrays.pop("upfirdn_2d/3/dy"), "upfirdn_2d/3/dy is missing"),
        (lambda arrays: arrays.update({"upfirdn_2d/3/z": np.ones(3)}), "3/z is no array"),
        (lambda arrays: arrays.update({"blur/3/x": np.ones(3)}), "neither layout"),
        (lambda arrays: arrays.update({"upfirdn_2d/3/upx": np.array(0)}), "at least 1"),
    ],
)
def test_other_layouts_of_ops_are_refused(reference, tmp_path, change, message):
    arrays = {k: v for k, v in load(reference, "ops.npz").items() if k.startswith("upfirdn_2d/3")}
    change(arrays)
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(UserError, match=message):
        check_reference.main([str(tmp_path / "other.npz")])


def test_files_that_are_no_archives_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"absent\.npz: no such file"):
        check_reference.main([str(tmp_path / "absent.npz")])
    (tmp_path / "text.npz").write_text("not an archive")
    np.savez(tmp_path / "cut.npz", x=np.zeros(1000))
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:500])
    np.savez(tmp_path / "objects.npz", meta=np.array([{}], object))
    for name in ("text", "cut", "objects"):
        with pytest.raises(UserError, match=f"{name}.npz: not a readable .npz"):
            check_reference.main([str(tmp_path / f"{name}.npz")])
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(UserError, match="a single array"):
        check_reference.main([str(tmp_path / "one.npy")])


def test_command_answers_errors_in_one_line(capsys):
    command = [sys.executable, "-m", "tests.check_reference", "x.npz"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "error: x.npz: no such file\n"
    with pytest.raises(SystemExit) as stop:
        check_reference.main(["--ops=fast", "x.npz"])
    assert stop.value.code == 2
    assert "'reference'" in capsys.readouterr().err
