"""How pictures are saved, and what is done to them."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

SAVED_AS: dict[str, dict[str, Any]] = {
    "PNG": {"suffix": ".png"},
    "JPEG, quality 95": {"suffix": ".jpg", "quality": 95},
    "JPEG, quality 95, full colour resolution": {
        "suffix": "-444.jpg",
        "quality": 95,
        "subsampling": 0,
    },
}

_LANCZOS = Image.Resampling.LANCZOS
Edit = Callable[[Image.Image], Image.Image]


def saved(file_format: str, quality: int) -> Edit:
    """Saving with loss and reading back."""

    def edit(picture: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        picture.save(buffer, file_format, quality=quality)
        return Image.open(buffer).convert("RGB")

    return edit


def _scaled(factor: float) -> Edit:
    """Scaling and scaling back."""

    def edit(picture: Image.Image) -> Image.Image:
        side = round(picture.width * factor)
        return picture.resize((side, side), _LANCZOS).resize(picture.size, _LANCZOS)

    return edit


def _noisy(deviation: float) -> Edit:
    """Gaussian noise, in steps of 8 bits, another one in every picture."""
    rng = np.random.default_rng(0)

    def edit(picture: Image.Image) -> Image.Image:
        pixels = np.asarray(picture, np.float64)
        noisy = np.rint(pixels + rng.normal(0, deviation, pixels.shape))
        return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))

    return edit


def _cut(margin: float) -> Edit:
    """Cutting off a share of the side on every edge, and scaling to the old size."""

    def edit(picture: Image.Image) -> Image.Image:
        x, y = margin * picture.width, margin * picture.height
        box = (x, y, picture.width - x, picture.height - y)
        return picture.resize(picture.size, _LANCZOS, box=box)

    return edit


def _cut_corner(share: float) -> Edit:
    """Cutting off a share of the side on the right and below, and scaling to the old size."""

    def edit(picture: Image.Image) -> Image.Image:
        box = (0, 0, (1 - share) * picture.width, (1 - share) * picture.height)
        return picture.resize(picture.size, _LANCZOS, box=box)

    return edit


def _on_white(factor: float) -> Edit:
    """Scaling down, and white around it up to the old size."""

    def edit(picture: Image.Image) -> Image.Image:
        side = round(picture.width * factor)
        ground = Image.new("RGB", picture.size, "white")
        corner = (picture.width - side) // 2
        ground.paste(picture.resize((side, side), _LANCZOS), (corner, corner))
        return ground

    return edit


def _gamma(exponent: float) -> Edit:
    return lambda picture: picture.point(lambda value: round(255 * (value / 255) ** exponent))


def _brightness(factor: float) -> Edit:
    return lambda picture: picture.point(lambda value: min(255, round(value * factor)))


def _contrast(factor: float) -> Edit:
    return lambda picture: ImageEnhance.Contrast(picture).enhance(factor)


def _mirrored(picture: Image.Image) -> Image.Image:
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _grey(picture: Image.Image) -> Image.Image:
    return picture.convert("L").convert("RGB")


EDITS: dict[str, Edit] = {
    "none": lambda picture: picture,
    "JPEG, quality 90": saved("jpeg", 90),
    "JPEG, quality 75": saved("jpeg", 75),
    "WebP, quality 90": saved("webp", 90),
    "scaled to twice the size and back": _scaled(2),
    "scaled to three quarters and back": _scaled(0.75),
    "1/32 cut off on each side, scaled": _cut(1 / 32),
    "noise, deviation 5 of 255": _noisy(5),
    "noise, deviation 15 of 255": _noisy(15),
    "Gaussian blur, radius 0.5 pixels": lambda p: p.filter(ImageFilter.GaussianBlur(0.5)),
    "brightness times 1.1": _brightness(1.1),
    "mirrored": _mirrored,
    "grey": _grey,
}

# What happens to pictures in the wild, and what an immunised model has to bear; one at a time.
WILD: dict[str, Edit] = {
    "JPEG, quality 75": saved("jpeg", 75),  # Pillow halves the colour below quality 100
    "JPEG, quality 50": saved("jpeg", 50),
    "WebP, quality 50": saved("webp", 50),
    "Gaussian blur, sigma 1": lambda p: p.filter(ImageFilter.GaussianBlur(1)),
    "90 % of the side, scaled": _cut(0.05),
    "scaled to half and back": _scaled(0.5),
    "noise, deviation 0.1": _noisy(25.5),
    "brightness times 0.8": _brightness(0.8),
    "brightness times 1.2": _brightness(1.2),
    "contrast times 0.8": _contrast(0.8),
    "mirrored": _mirrored,
    "grey": _grey,
}

# Between the steps of a search, and beyond them.
OFF_GRID: dict[str, Edit] = {
    "7 % cut off on each side, scaled": _cut(0.07),
    "3/32 cut off on each side, scaled": _cut(3 / 32),
    "12 % cut off on each side, scaled": _cut(0.12),
    "top left 90 %, scaled": _cut_corner(0.1),
    "90 % of the size, on white": _on_white(0.9),
    "brightness times 0.9": _brightness(0.9),
    "brightness times 0.7": _brightness(0.7),
    "brightness times 1.35": _brightness(1.35),
    "gamma 1.4": _gamma(1.4),
    "contrast times 0.6": _contrast(0.6),
    "turned by 90 degrees": lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
    "turned by 5 degrees": lambda p: p.rotate(5, Image.Resampling.BICUBIC, fillcolor="white"),
    "mirrored, brightness times 0.8": lambda p: _brightness(0.8)(_mirrored(p)),
    "mirrored, 3/32 cut off on each side": lambda p: _cut(3 / 32)(_mirrored(p)),
}
