"""Published models: the networks that users need, in full or in half as many bytes."""

from pathlib import Path

import numpy as np
import pytest

from dnnlib.errors import UserError
from tests.support.paths import ROOT
from tools import publish_model
from tools.study.publish import publish
from training.models.snapshot import load_networks, read_snapshot, save_networks

MODEL = ROOT / "tests" / "data" / "previous" / "network.pkl"


def values(path: Path) -> dict[str, np.ndarray]:
    networks, _ = read_snapshot(path)
    return {f"{s}/{n}": v for s, data in networks.items() for n, v in data.variables.items()}


def test_in_full(tmp_path: Path) -> None:
    publish_model.main([str(MODEL), str(tmp_path / "out.pkl")])
    before, after = values(MODEL), values(tmp_path / "out.pkl")
    assert {name.split("/")[0] for name in after} == {"E", "Gs"}
    assert all(np.array_equal(before[name], value) for name, value in after.items())
    assert read_snapshot(tmp_path / "out.pkl")[1] == read_snapshot(MODEL)[1]


@pytest.mark.parametrize("discriminator", [False, True])
def test_in_half(tmp_path: Path, discriminator: bool) -> None:
    text = publish(str(MODEL), str(tmp_path / "out.pkl"), half=True, discriminator=discriminator)
    before, after = values(MODEL), values(tmp_path / "out.pkl")
    assert text.startswith(f"{tmp_path / 'out.pkl'}: ")
    assert {name.split("/")[0] for name in after} == {"E", "Gs"} | (
        {"D"} if discriminator else set()
    )
    for name, value in after.items():
        np.testing.assert_allclose(value, before[name], rtol=1e-3, atol=1e-7)
        assert value.dtype == np.float16
    built = load_networks(tmp_path / "out.pkl")
    for name, variable in built.fingerprinted.named_variables().items():
        assert np.array_equal(variable.numpy(), after[f"Gs/{name}"].astype(np.float32))


def test_what_cannot_be_published(tmp_path: Path) -> None:
    networks, position = read_snapshot(MODEL)
    without = {slot: data for slot, data in networks.items() if slot != "E"}
    save_networks(tmp_path / "without.pkl", without, position)
    with pytest.raises(UserError, match="holds no network E"):
        publish(str(tmp_path / "without.pkl"), str(tmp_path / "out.pkl"))
    name = next(iter(networks["E"].variables))
    networks["E"].variables[name] = np.full_like(networks["E"].variables[name], 1e5)
    save_networks(tmp_path / "large.pkl", networks, position)
    with pytest.raises(UserError, match="100000 is too large for --half"):
        publish(str(tmp_path / "large.pkl"), str(tmp_path / "out.pkl"), half=True)
    assert not (tmp_path / "out.pkl").exists()
