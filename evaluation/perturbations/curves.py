"""Perturbations in ten strengths each, from mild to hard, with what the paper found.

A strength is applied to an 8-bit picture, as it would be read from a file: compression by the codec
itself, in memory, and all else by Pillow. Every picture has its own random numbers, which follow
from seed, perturbation, strength and its number.
"""

import io
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, features

Picture = Image.Image
Apply = Callable[[Picture, float, np.random.Generator], Picture]

PAPER_SIDE = 128  # pixels, of the paper's pictures
_LANCZOS, _BICUBIC = Image.Resampling.LANCZOS, Image.Resampling.BICUBIC


@dataclass(frozen=True)
class PaperPoint:
    """Bit accuracy in the paper, CelebA 128x128, 128 bits (Yu et al., arXiv 2012.08726)."""

    strength: float  # on our scale
    label: str  # as the paper has it
    original: float
    immunized: float


@dataclass(frozen=True)
class Perturbation:
    """One thing that happens to pictures."""

    name: str  # of files
    title: str
    words: str  # for a sentence; {} stands for the strength
    axis: str  # what a strength is
    strengths: tuple[float, ...]
    apply: Apply  # RGB -> RGB of the same size
    paper: tuple[PaperPoint, ...] = ()
    codec: str | None = None  # that Pillow may lack, a name of `PIL.features`
    note: str = ""  # what the picture in a report has to say

    @property
    def is_available(self) -> bool:
        """Whether this machine's Pillow has the codec."""
        return self.codec is None or bool(features.check(self.codec))


def perturb(
    images: np.ndarray, perturbation: Perturbation, strength: float, seed: int = 0
) -> np.ndarray:
    """Pictures behind a perturbation: uint8 [N,H,W,C] -> the same; grey ones stay grey."""
    stream = [seed, zlib.crc32(perturbation.name.encode()), round(strength * 1000)]
    made = []
    for number, image in enumerate(images):
        rng = np.random.default_rng([*stream, number])
        is_grey = image.shape[2] == 1
        picture = Image.fromarray(image[:, :, 0] if is_grey else image).convert("RGB")
        changed = perturbation.apply(picture, strength, rng)
        values = np.asarray(changed.convert("L" if is_grey else "RGB"))
        made.append(values.reshape(image.shape))
    return np.stack(made)


def _coded(file_format: str) -> Apply:
    """Saving with loss, at a quality, and reading back."""

    def apply(picture: Picture, quality: float, rng: np.random.Generator) -> Picture:
        buffer = io.BytesIO()
        picture.save(buffer, file_format, quality=round(quality))
        return Image.open(buffer).convert("RGB")

    return apply


def _crop(picture: Picture, share: float, rng: np.random.Generator) -> Picture:
    x, y = ((1 - share) / 2 * side for side in picture.size)
    box = (x, y, picture.width - x, picture.height - y)
    return picture.resize(picture.size, _LANCZOS, box=box)


def _noise(picture: Picture, deviation: float, rng: np.random.Generator) -> Picture:
    pixels = np.asarray(picture, np.float64)
    noisy = np.rint(pixels + rng.normal(0, 255 * deviation, pixels.shape))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def _blur(picture: Picture, width: float, rng: np.random.Generator) -> Picture:
    sigma128 = 0.3 * ((width - 1) / 2 - 1) + 0.8
    return picture.filter(ImageFilter.GaussianBlur(sigma128 * picture.width / PAPER_SIDE))


def _resize(picture: Picture, factor: float, rng: np.random.Generator) -> Picture:
    side = max(1, round(picture.width * factor))
    return picture.resize((side, side), _LANCZOS).resize(picture.size, _LANCZOS)


def _rotate(picture: Picture, degrees: float, rng: np.random.Generator) -> Picture:
    return picture.rotate(degrees, _BICUBIC, fillcolor="white")


def _mirror(picture: Picture, count: float, rng: np.random.Generator) -> Picture:
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _brightness(picture: Picture, factor: float, rng: np.random.Generator) -> Picture:
    return ImageEnhance.Brightness(picture).enhance(factor)


def _contrast(picture: Picture, factor: float, rng: np.random.Generator) -> Picture:
    return ImageEnhance.Contrast(picture).enhance(factor)


def _saturation(picture: Picture, factor: float, rng: np.random.Generator) -> Picture:
    return ImageEnhance.Color(picture).enhance(factor)


def _hue(picture: Picture, degrees: float, rng: np.random.Generator) -> Picture:
    hsv = np.array(picture.convert("HSV"))
    hsv[:, :, 0] += np.uint8(round(degrees / 360 * 256) % 256)
    return Image.fromarray(hsv, "HSV").convert("RGB")


def _screenshot(picture: Picture, level: float, rng: np.random.Generator) -> Picture:
    """Shown at twice the size, captured, cut out with an error, saved, made small again."""
    shown = picture.resize((2 * picture.width, 2 * picture.height), _BICUBIC)
    shown = ImageEnhance.Brightness(shown).enhance(1 - 0.015 * level)
    error = level / 100 * shown.width * rng.uniform(-0.5, 0.5, 2)
    left, top = (max(0.0, float(e)) for e in error)
    right, bottom = (float(s + min(0.0, e)) for s, e in zip(shown.size, error, strict=True))
    cut = shown.resize(shown.size, _BICUBIC, box=(left, top, right, bottom))
    return _coded("jpeg")(cut, 95 - 5 * level, rng).resize(picture.size, _LANCZOS)


def _text(picture: Picture, share: float, rng: np.random.Generator) -> Picture:
    """Letters across the middle, white with a black rim, as high as a share of the picture."""
    changed = picture.copy()
    font = ImageFont.load_default(max(4, share * picture.height))
    middle = (picture.width / 2, picture.height / 2)
    rim = max(1, round(share * picture.height / 12))
    ImageDraw.Draw(changed).text(
        middle, "SAMPLE", "white", font, anchor="mm", stroke_width=rim, stroke_fill="black"
    )
    return changed


def _combined(picture: Picture, level: float, rng: np.random.Generator) -> Picture:
    """The four of the paper in a row, all of them harder with the level."""
    picture = _crop(picture, 1 - 0.04 * level, rng)
    picture = _blur(picture, 1 + level, rng)
    picture = _noise(picture, 0.015 * level, rng)
    return _coded("jpeg")(picture, 100 - 6 * level, rng)


# What a picture may meet on its way, each of it mild.
_WAY: Sequence[tuple[Apply, float]] = (
    (_coded("jpeg"), 75),
    (_coded("webp"), 75),
    (_blur, 5),
    (_resize, 0.5),
    (_crop, 0.95),
    (_noise, 0.03),
    (_brightness, 0.9),
    (_brightness, 1.1),
    (_contrast, 0.9),
    (_saturation, 0.8),
)


def _several(picture: Picture, count: float, rng: np.random.Generator) -> Picture:
    for number in rng.choice(len(_WAY), round(count), replace=False):
        apply, strength = _WAY[number]
        picture = apply(picture, strength, rng)
    return picture


def _points(*rows: tuple[float, str, float, float]) -> tuple[PaperPoint, ...]:
    return tuple(PaperPoint(*row) for row in rows)


_QUALITIES = (95.0, 90.0, 80.0, 70.0, 60.0, 50.0, 40.0, 30.0, 20.0, 10.0)
_LEVELS = tuple(float(level) for level in range(1, 11))
_DOWN = (0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)

PERTURBATIONS: dict[str, Perturbation] = {
    p.name: p
    for p in (
        Perturbation(
            "crop",
            "Cropped, scaled back",
            "cropping to {} of the side",
            "share of the side that is left, centred",
            (0.98, 0.95, 0.9, 0.85, 0.8, 0.75, 0.6875, 0.6, 0.5, 0.4),
            _crop,
            _points(
                (115 / 128, "115 pixels", 0.695, 0.99),
                (88 / 128, "88 pixels", 0.51, 0.97),
                (61 / 128, "61 pixels", 0.50, 0.75),
            ),
        ),
        Perturbation(
            "noise",
            "Gaussian noise",
            "noise of {}",
            "deviation, of a range of 1",
            (0.01, 0.02, 0.03, 0.04, 0.056, 0.08, 0.11, 0.16, 0.22, 0.278),
            _noise,
            _points((0.056, "0.056", 0.58, 0.995), (0.278, "0.278", 0.50, 0.86)),
            note="The paper's deviations are taken to be of a range of 1.",
        ),
        Perturbation(
            "jpeg",
            "JPEG",
            "JPEG of quality {}",
            "quality",
            _QUALITIES,
            _coded("jpeg"),
            _points((90, "90", 0.85, 0.90), (70, "70", 0.73, 0.795), (50, "50", 0.69, 0.705)),
        ),
        Perturbation(
            "blur",
            "Gaussian blur",
            "blur {} wide",
            "width of the kernel, in pixels of a side of 128",
            (3, 4, 5, 7, 10, 14, 20, 26, 32, 40),
            _blur,
            _points((5, "5", 0.99, 0.96), (10, "10", 0.815, 0.82), (20, "20", 0.65, 0.65)),
            note="The paper's numbers are taken to be widths of the kernel, "
            "sigma 0.3((k-1)/2-1)+0.8 pixels at 128x128; smaller pictures get less in proportion.",
        ),
        Perturbation(
            "combined",
            "The paper's four in a row",
            "the paper's four at level {}",
            "level",
            _LEVELS,
            _combined,
            _points((4, "level 4", 0.503, 0.895)),
            note="The levels are ours: crop to 1 - 0.04 l, blur, noise of 0.015 l, JPEG of quality "
            "100 - 6 l.",
        ),
        Perturbation(
            "resize",
            "Scaled down and back",
            "scaling to {} and back",
            "share of the side",
            _DOWN,
            _resize,
        ),
        Perturbation(
            "rotation",
            "Turned, white corners",
            "turning by {}°",
            "degrees",
            (1, 2, 3, 4, 5, 7, 10, 15, 25, 45),
            _rotate,
        ),
        Perturbation("flip", "Mirrored", "mirroring", "times", (1,), _mirror),
        Perturbation(
            "darker", "Darker", "brightness times {}", "brightness times", _DOWN, _brightness
        ),
        Perturbation(
            "brighter",
            "Brighter",
            "brightness times {}",
            "brightness times",
            (1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.5, 1.75, 2, 2.5),
            _brightness,
        ),
        Perturbation(
            "contrast", "Less contrast", "contrast times {}", "contrast times", _DOWN, _contrast
        ),
        Perturbation(
            "saturation",
            "Less colour; 0 is grey",
            "colour times {}",
            "saturation times",
            (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0),
            _saturation,
        ),
        Perturbation(
            "hue",
            "Other hues",
            "hues turned by {}°",
            "degrees",
            (3, 6, 10, 15, 20, 30, 45, 60, 90, 180),
            _hue,
        ),
        Perturbation(
            "webp",
            "WebP",
            "WebP of quality {}",
            "quality",
            _QUALITIES,
            _coded("webp"),
            codec="webp",
        ),
        Perturbation(
            "avif",
            "AVIF",
            "AVIF of quality {}",
            "quality",
            _QUALITIES,
            _coded("avif"),
            codec="avif",
        ),
        Perturbation(
            "screenshot",
            "Captured from a screen, saved as JPEG",
            "screen captures of level {}",
            "level",
            _LEVELS,
            _screenshot,
        ),
        Perturbation(
            "text",
            "Letters across the middle",
            "letters {} high",
            "height of the letters, share of the side",
            (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6),
            _text,
        ),
        Perturbation(
            "several",
            "Several mild edits in a row",
            "mild edits in a row ({})",
            "edits",
            _LEVELS,
            _several,
        ),
    )
}
