"""A service over a tiny model, whose decoder reads bits that a picture shows plainly."""

import argparse
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

from fingerprints.registry.facade import Registry
from gan_fingerprints.commands.fingerprints import build_parser
from service.app import create_app
from service.judging import Judging
from service.main import settings_of
from tests.support.bulk import NUM_BITS, Place


def arguments(place: Place, *flags: str) -> argparse.Namespace:
    """What the parser makes of `serve`."""
    network, registry = f"--network={place.network}", f"--registry={place.registry}"
    common = ["serve", network, registry, "--ops=reference", "--anonymous=100000"]
    return build_parser().parse_args([*common, "--refresh=0.05", *flags])


def read_plainly(images: np.ndarray) -> np.ndarray:
    """In place of a decoder: logits [N,B] from the red of the first B pixels."""
    flat = images[..., 0].reshape(len(images), -1)[:, :NUM_BITS]
    return (flat.astype(np.float32) - 127.5) / 10


def make_judging(args: argparse.Namespace, *, plainly: bool = True) -> Judging:
    """A detector; `plainly`: it reads what `picture_of` shows."""
    judging = Judging(args, settings_of(args).limits)
    if plainly:
        judging._decoders = {args.max_batch: read_plainly}
    return judging


@contextmanager
def running(place: Place, *flags: str, plainly: bool = True) -> Iterator[TestClient]:
    """A client of a service that runs in this process."""
    args = arguments(place, *flags)
    app = create_app(make_judging(args, plainly=plainly), settings_of(args))
    with TestClient(app) as client:
        yield client


def picture_of(place: Place, licensee: str) -> bytes:
    """A PNG that shows a licensee's bits."""
    with Registry.open(str(place.registry)) as registry:
        (found,) = registry.fingerprints(licensee_id=licensee)
    return png(np.pad(found.bits, (0, 64 - NUM_BITS)).reshape(8, 8))


def png(bits: np.ndarray, **choices: Any) -> bytes:
    """A grey PNG of 0 and 1."""
    file = io.BytesIO()
    Image.fromarray((255 * bits).astype(np.uint8)).convert("RGB").save(file, "PNG", **choices)
    return file.getvalue()


def verify(client: TestClient, *contents: bytes, **choices: Any) -> Any:
    """The response to some files."""
    files = [("files", (f"{number}.png", content)) for number, content in enumerate(contents)]
    return client.post("/v1/verify", files=files, **choices)
