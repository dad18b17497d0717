"""`python -m gan_fingerprints`."""

from gan_fingerprints.main import console

console()
