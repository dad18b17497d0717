"""The registry that a command's flags name."""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dnnlib.cache import default_cache_dir
from dnnlib.errors import UserError
from fingerprints.entries import Model
from fingerprints.keys import load_secret
from fingerprints.registry.facade import Registry
from fingerprints.registry.heads import heads_beside, keep_head


def open_registry(args: argparse.Namespace, *, create: bool = False) -> Registry:
    """Opens the registry that the flags of `add_registry` name."""
    key = None if args.registry_key is None else load_secret(args.registry_key, "registry")
    if create:
        return Registry.create(args.registry, key, exist_ok=True)
    return Registry.open(args.registry, key)


def head_files(args: argparse.Namespace) -> list[Path]:
    """Where the heads of logs are kept: in the cache folder, and beside the keys that are named."""
    keys = [getattr(args, name, None) for name in ("key", "registry_key")]
    return [default_cache_dir() / "registry.heads.json", *(heads_beside(k) for k in keys if k)]


def keep_heads(args: argparse.Namespace, registry: Registry) -> dict[str, Any]:
    """Keeps the head of a registry's log outside of it, and says so if the log lost something.

    A head that cannot be kept stops nothing: one line on stderr says it.

    Returns:
        The head's fields, for `--json`.
    """
    for path in head_files(args):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lost = keep_head(path, registry)
        except (OSError, UserError) as error:
            print(f"warning: the log's head is not kept: {error}", file=sys.stderr)
            continue
        if lost:
            print(
                f"warning: {path} has {len(lost)} heads of the log of {registry.name} that it has "
                "no more: it went back to an older backup, or was cut short; run audit",
                file=sys.stderr,
            )
    return asdict(registry.log_head())


def not_calibrated(registry: Registry, model: Model) -> str:
    """Says that a model is not calibrated with the decoder in use, and whether it is with others.

    Args:
        registry: of the model.
        model: with the decoder in use.
    """
    others = [entry for entry in registry.decoders(model) if entry.calibrated is not None]
    if not others:
        return "not calibrated (see the command calibrate)"
    names = ", ".join(f"{e.name} ({e.model.decoder_hash[:12]})" for e in others)
    return (
        f"not calibrated with this decoder ({model.decoder_hash[:12]}), only with that of {names}; "
        "run calibrate with this network"
    )


def head_text(head: dict[str, Any]) -> str:
    """A head in words, for a line of text."""
    return f"log head {head['log_head']} of event {head['log_events']}"
