"""The suites by name, for flags: nothing here is slow to load."""

SUITES = {
    "paper": "what the paper measured: perturbations, detection and attribution, quality",
    "attacks": "what attackers can do with pictures, instances and the decoder, and what it costs",
    "quality": "quality of the pictures, and whether the fingerprint shows",
}
