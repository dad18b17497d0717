"""Differentiable image edits: what happens to images on their way, as functions of random draws."""
