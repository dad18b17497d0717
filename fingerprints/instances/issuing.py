"""Issuing: from a licensee to a fingerprint, and from that to an instance with its papers.

Nothing here knows networks: what bakes a fingerprint into weights and what writes them as a file is
given (`training.models.baking`, `training.models.instances`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fingerprints.detection.detector import load_calibration
from fingerprints.detection.planning import default_min_distance
from fingerprints.entries import Fingerprint, Model
from fingerprints.instances import instance_manifest
from fingerprints.instances.instance_manifest import InstanceManifest, hash_tree
from fingerprints.registry.event_log import utc_now
from fingerprints.registry.facade import Registry


class Writer(Protocol):
    """Writes instances of one generator in one format."""

    ending: str  # of the file's or folder's name

    def write(self, data: Any, path: Path) -> None:
        """Writes what `bake` gave, completely or not at all; what is there is replaced."""


@dataclass(frozen=True)
class Issued:
    """One instance that is complete."""

    licensee: str
    file_format: str
    path: Path
    manifest_path: Path
    instance_hash: str


def reserve(
    registry: Registry,
    model: Model,
    licensees: Sequence[tuple[str, str]],
    *,
    min_distance: int | None = None,
    replace_revoked: bool = False,
) -> list[Fingerprint]:
    """A fingerprint for each licensee: the one that is there, or a new one.

    New ones keep a distance, and are none that foreign images lean to, where the model is
    calibrated.

    Args:
        registry: draws and keeps them.
        model: of that registry.
        licensees: ids and names; an empty name is no name.
        min_distance: bits in which fingerprints differ at least; None: as many as leave room.
        replace_revoked: a new fingerprint for whom one was revoked.

    Raises:
        UserError: as `Registry.reserve`.
    """
    calibration = load_calibration(registry, model)
    if min_distance is None:
        expected = registry.counts(model).fingerprints + len(licensees)
        min_distance = default_min_distance(model.num_bits, expected)
    return registry.reserve(
        model,
        licensees,
        min_distance=min_distance,
        is_favoured=None if calibration is None else calibration.favoured,
        replace_revoked=replace_revoked,
    )


class Issuer:
    """Writes instances of one model with their signed manifests, and records them.

    Args:
        bake: fingerprint, uint8 [B] -> what the writers take.
        writers: by the name of the format.
        folder: where LICENSEE.pkl and so on go; it exists.
        model_hash: of the model that the instances are made from.
        signing_key: of the manifests.
        registry: that keeps the log; None: there is none.
        spread: whether `bake` spreads weights, which the manifests say.
    """

    def __init__(
        self,
        bake: Callable[[np.ndarray], Any],
        writers: Mapping[str, Writer],
        folder: Path,
        *,
        model_hash: str,
        signing_key: Ed25519PrivateKey,
        registry: Registry | None = None,
        spread: bool = False,
    ) -> None:
        self._bake = bake
        self._writers = writers
        self._folder = folder
        self._model_hash = model_hash
        self._signing_key = signing_key
        self._registry = registry
        self._spread = spread

    def issue(
        self, licensee: str, bits: np.ndarray, fingerprint: Fingerprint | None = None
    ) -> Iterator[Issued]:
        """Writes one licensee's instance in every format; yields each when all of it is there.

        Args:
            licensee: id, which is the file's name.
            bits: uint8 [B] of 0 and 1.
            fingerprint: these bits in the registry; None without a registry.

        Raises:
            UserError: a file cannot be written, or the fingerprint was revoked meanwhile.
        """
        data = self._bake(bits)
        for name, writer in self._writers.items():
            path = self._folder / f"{licensee}{writer.ending}"
            writer.write(data, path)
            yield self._complete(licensee, name, path, fingerprint)

    def _complete(
        self, licensee: str, file_format: str, path: Path, fingerprint: Fingerprint | None
    ) -> Issued:
        """Signs and writes the manifest of a file, and enters the file into the registry's log."""
        instance_hash = hash_tree(path)
        head = None if self._registry is None else self._registry.log_head()
        manifest = InstanceManifest(
            licensee=licensee,
            model_hash=self._model_hash,
            instance_hash=instance_hash,
            file_format=file_format,
            time=utc_now(),
            log_head="" if head is None else head.log_head,
            fingerprint_id=None if fingerprint is None else fingerprint.id,
            registry_id=None if head is None else head.registry_id,
            log_events=None if head is None else head.log_events,
            spread=self._spread,
            version=3 if self._spread else 2,
        )
        manifest_path = path.with_name(path.name + instance_manifest.ENDING)

        def enter(manifest_hash: str) -> None:
            if self._registry is not None:
                assert fingerprint is not None
                self._registry.record_issue(fingerprint, instance_hash, file_format, manifest_hash)

        # So no manifest appears that the log does not tell of, whatever fails, or is full.
        signed = instance_manifest.sign(manifest, self._signing_key)
        instance_manifest.write(manifest_path, signed, enter)
        return Issued(licensee, file_format, path, manifest_path, instance_hash)
