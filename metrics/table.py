"""The table of metrics: names as the command line writes them, and what each of them needs."""

import re
from collections.abc import Iterable, Sequence

from dnnlib.errors import UserError
from metrics.feature_metrics import (
    frechet,
    kernel,
    manifold,
    precision_recall,
    with_inception,
    with_lite0,
    with_vgg16,
)
from metrics.fid_watermark_accuracy import FidWatermarkAccuracy
from metrics.fingerprint_visibility import FingerprintVisibility, larger_is_better
from metrics.frechet_inception_distance import FrechetInceptionDistance
from metrics.image_difference import WINDOW
from metrics.inception_score import InceptionScore
from metrics.metric import Family, Metric
from metrics.path_length import path_length
from metrics.sliced_wasserstein import MIN_RESOLUTION, SlicedWasserstein
from metrics.watermark_accuracy import WatermarkAccuracy


def make_table(families: Iterable[Family]) -> dict[str, Family]:
    """The families by form.

    Raises:
        ValueError: two of one form.
    """
    table: dict[str, Family] = {}
    for family in families:
        if family.form in table:
            raise ValueError(f"two metrics are called {family.form}")
        table[family.form] = family
    return table


_WAYS = {"z": "from latent to latent", "w": "from style to style"}
_PLACES = {"full": "anywhere between", "end": "at the beginning"}
_LEAST_OF_VGG16 = 16  # pixels, which it halves four times

FAMILIES = make_table(
    [
        Family(
            form="fid_watermark_accuracy_<n>k",
            help="FID and bit accuracy of the same images: _fid, _watermark_bit_accuracy[_float]",
            start=FidWatermarkAccuracy,
            larger_is_better=lambda suffix: suffix != "_fid",
            needs_inception=True,
            needs_dataset=True,
            needs_decoder=True,
        ),
        Family(
            form="watermark_accuracy_<n>k",
            help="bit accuracy from uint8 images (and _float, before rounding); no data set",
            start=WatermarkAccuracy,
            larger_is_better=lambda suffix: True,
            needs_decoder=True,
        ),
        Family(
            form="fid<n>k",
            help="Frechet Inception distance; smaller is better",
            start=FrechetInceptionDistance,
            larger_is_better=lambda suffix: False,
            needs_inception=True,
            needs_dataset=True,
        ),
        Family(
            form="swd<n>k",
            help="sliced Wasserstein distance x 1000 per resolution and _avg; smaller is better",
            start=SlicedWasserstein,
            larger_is_better=lambda suffix: False,
            needs_dataset=True,
            min_resolution=MIN_RESOLUTION,
        ),
        Family(
            form="fingerprint_visibility<n>k",
            help="what a fingerprint changes: _psnr (dB), _ssim, _max; a latent: _latents_psnr",
            start=FingerprintVisibility,
            larger_is_better=larger_is_better,
            needs_pairs=True,
            min_resolution=WINDOW,
        ),
        Family(
            form="kid<n>k",
            help="kernel Inception distance, _std over subsets, _floor; smaller is better",
            start=with_inception(kernel),
            larger_is_better=lambda suffix: False,
            needs_inception=True,
            needs_dataset=True,
        ),
        Family(
            form="prdc<n>k",
            help="_precision, _recall, _density, _coverage of Inception features, and floors",
            start=with_inception(manifold),
            larger_is_better=lambda suffix: True,
            needs_inception=True,
            needs_dataset=True,
        ),
        Family(
            form="is<n>k",
            help="Inception Score: _mean, _std over ten parts; no data set; larger is better",
            start=InceptionScore,
            larger_is_better=lambda suffix: suffix == "_mean",
            needs_inception=True,
        ),
        Family(
            form="fd_lite0_<n>k",
            help="Frechet distance of EfficientNet-Lite0 features, _floor; no download",
            start=with_lite0(frechet),
            larger_is_better=lambda suffix: False,
            needs_lite0=True,
            needs_dataset=True,
        ),
        Family(
            form="kid_lite0_<n>k",
            help="kernel distance of EfficientNet-Lite0 features, _std, _floor; no download",
            start=with_lite0(kernel),
            larger_is_better=lambda suffix: False,
            needs_lite0=True,
            needs_dataset=True,
        ),
        Family(
            form="prdc_lite0_<n>k",
            help="_precision ... _coverage of EfficientNet-Lite0 features, and floors; no download",
            start=with_lite0(manifold),
            larger_is_better=lambda suffix: True,
            needs_lite0=True,
            needs_dataset=True,
        ),
        Family(
            form="pr<n>k3",
            help="_precision, _recall of VGG16 features, three neighbours, and floors",
            start=with_vgg16(precision_recall),
            larger_is_better=lambda suffix: True,
            needs_vgg16=True,
            needs_dataset=True,
        ),
        *(
            Family(
                form=f"ppl_{space}{where}",
                help=f"path length by LPIPS, {_WAYS[space]}, {_PLACES[where]}; 50,000 pairs",
                start=path_length(space, where == "full", "vgg16"),
                larger_is_better=lambda suffix: False,
                needs_vgg16=True,
                needs_walk=True,
                min_resolution=_LEAST_OF_VGG16,
            )
            for space in _WAYS
            for where in _PLACES
        ),
        *(
            Family(
                form=f"ppl_lite0_{space}{where}_<n>k",
                help="the same by distances of EfficientNet-Lite0 features; no download",
                start=path_length(space, where == "full", "lite0"),
                larger_is_better=lambda suffix: False,
                needs_lite0=True,
                needs_walk=True,
            )
            for space in _WAYS
            for where in _PLACES
        ),
    ]
)


def parse_metric(name: str) -> Metric:
    """The metric called `name`, for example fid50k.

    Raises:
        UserError: there is none; the line lists the forms.
    """
    for family in FAMILIES.values():
        match = re.fullmatch(family.form.replace("<n>", "([1-9][0-9]*)"), name)
        if match:
            count = 1000 * int(match[1]) if match.re.groups else family.num_images
            return Metric(name, count, family)
    forms = ", ".join(FAMILIES)
    raise UserError(f"unknown metric {name!r}; known: {forms} with a whole number for <n>, or none")


def parse_metrics(text: str) -> list[str]:
    """Checked names of a comma-separated list; nothing, `none` or `None` alone: the empty list.

    Raises:
        UserError: an unknown name, or one that comes twice.
    """
    names = [name.strip() for name in text.split(",")]
    if names in ([""], ["none"], ["None"]):
        return []
    for name in names:
        parse_metric(name)
        if names.count(name) > 1:
            raise UserError(f"metric {name} is asked for twice")
    return names


def needs_inception(names: Sequence[str]) -> list[str]:
    """Those of the metrics that need the Inception graph."""
    return [name for name in names if parse_metric(name).family.needs_inception]


def needs_lite0(names: Sequence[str]) -> list[str]:
    """Those of the metrics that need EfficientNet-Lite0."""
    return [name for name in names if parse_metric(name).family.needs_lite0]


def needs_vgg16(names: Sequence[str]) -> list[str]:
    """Those of the metrics that need VGG16."""
    return [name for name in names if parse_metric(name).family.needs_vgg16]


def forms_without_inception() -> list[str]:
    """Forms of the metrics that need no Inception graph."""
    return [form for form, family in FAMILIES.items() if not family.needs_inception]


def help_text() -> str:
    """The table as lines for a command's help."""
    width = max(map(len, FAMILIES))
    lines = [f"  {form:<{width}}  {family.help}" for form, family in FAMILIES.items()]
    return "\n".join(["metrics (<n>: thousands of images, for example 30):", *lines])
