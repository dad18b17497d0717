"""What is done with a source image before it is stored: crops, sizes, and refusals."""

from dataclasses import dataclass

from PIL import Image

from dnnlib.images import UnreadableImageError

CROP = 64  # pixels from the centre of a CelebA crop to its edges


def as_it_is(name: str, image: Image.Image, notes: list[str]) -> Image.Image:
    """Nothing is done."""
    return image


def fit_square(image: Image.Image, resolution: int) -> Image.Image:
    """Crops the centre to a square and resizes it (Lanczos) to resolution x resolution pixels.

    An image that has this size already is returned unchanged.
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    if image.width != image.height:
        image = image.crop((left, top, left + side, top + side))
    if side != resolution:
        image = image.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return image


@dataclass(frozen=True)
class Square:
    """Crops the centre and resizes; smaller images are refused, or enlarged."""

    resolution: int
    allow_upscale: bool = False

    def __call__(self, name: str, image: Image.Image, notes: list[str]) -> Image.Image:
        if min(image.size) < self.resolution:
            if not self.allow_upscale:
                raise UnreadableImageError(
                    f"{image.width}x{image.height}, smaller than"
                    f" {self.resolution}x{self.resolution}",
                    "too small",
                )
            notes.append("enlarged")
        if image.width != image.height:
            notes.append("not square, cropped")
        return fit_square(image, self.resolution)


@dataclass(frozen=True)
class CropAround:
    """The published crop of CelebA, 128x128 around a pixel."""

    cx: int
    cy: int

    def __call__(self, name: str, image: Image.Image, notes: list[str]) -> Image.Image:
        left, top = self.cx - CROP, self.cy - CROP
        box = (left, top, left + 2 * CROP, top + 2 * CROP)
        if left < 0 or top < 0 or box[2] > image.width or box[3] > image.height:
            raise UnreadableImageError(
                f"{image.width}x{image.height}: the crop of {2 * CROP}x{2 * CROP} at --cx {self.cx}"
                f" --cy {self.cy} does not fit; use aligned CelebA images (178x218)",
                "outside the crop",
            )
        return image.crop(box)


@dataclass(frozen=True)
class Wide:
    """Wide images, resized, with black above and below; smaller ones are refused."""

    width: int
    height: int

    def __call__(self, name: str, image: Image.Image, notes: list[str]) -> Image.Image:
        rows = round(image.width * self.height / self.width)  # that become `height`
        if image.width < self.width or image.height < rows:
            raise UnreadableImageError(
                f"{image.width}x{image.height}, less than {self.width}x{self.height} or less wide",
                "too small",
            )
        top = (image.height - rows) // 2
        image = image.crop((0, top, image.width, top + rows))
        canvas = Image.new("RGB", (self.width, self.width))
        resized = image.resize((self.width, self.height), Image.Resampling.LANCZOS)
        canvas.paste(resized, (0, (self.width - self.height) // 2))
        return canvas
