"""The registry that a command's flags name."""

import argparse

from fingerprints.keys import load_secret
from fingerprints.registry.facade import Registry


def open_registry(args: argparse.Namespace, *, create: bool = False) -> Registry:
    """Opens the registry that the flags of `add_registry` name."""
    key = None if args.registry_key is None else load_secret(args.registry_key, "registry")
    if create:
        return Registry.create(args.registry, key, exist_ok=True)
    return Registry.open(args.registry, key)
