"""From the decoder's logits to a verdict: tails, search, calibration."""
