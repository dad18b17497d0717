"""Published snapshots (TensorFlow 1) -> class, keyword arguments and variables of our networks.

The published code pickled live objects of a class `Network`, source text included. Here they are
states that `safe_pickle` read; the source is ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dnnlib import safe_pickle
from dnnlib.errors import UserError

ALLOW: safe_pickle.Allowed = {
    ("dnnlib.tflib.network", "Network"): safe_pickle.Inert,
    ("dnnlib.util", "EasyDict"): dict,
}
TUPLE_ORDER = ("E", "G", "D", "Gs")
_VERSIONS = (2, 3, 4)

_FEATURE_MAPS = {"fmap_base": 16384, "fmap_decay": 1.0, "fmap_min": 1, "fmap_max": 512}
_IMAGES = {"resolution": 1024, "num_channels": 3}
_CODES = {"latent_size": 512, "fingerprint_size": 32}
# Published build function -> our class and the published defaults of the keywords that a file
# leaves out. These must not follow changes of our own defaults.
FUNCTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "G_main_watermark": (
        "Generator",
        {
            **_IMAGES,
            **_CODES,
            **_FEATURE_MAPS,
            "dlatent_size": 512,
            "mapping_fmaps": 512,
            "mapping_layers": 8,
            "mapping_lrmul": 0.01,
            "architecture": "skip",
            "modulated_min_log2": 2,
            "modulated_max_log2": 7,
        },
    ),
    "D_stylegan2": (
        "Discriminator",
        {**_IMAGES, **_FEATURE_MAPS, "architecture": "resnet", "mbstd_group_size": 4},
    ),
    "E_stylegan2_watermark": (
        "Decoder",
        {**_IMAGES, **_CODES, **_FEATURE_MAPS, "architecture": "resnet"},
    ),
}
COMPONENTS = {"mapping": "G_mapping_watermark", "synthesis": "G_synthesis_stylegan2"}
_COMPONENTS = {name: (function,) for name, function in COMPONENTS.items()}
# The same for StyleGAN2 without fingerprints, and for StyleGAN2-ADA.
PLAIN_TUPLE = ("G", "D", "Gs")
_LABELS = {"label_size": 0, "label_fmaps": 512}
_MAPPING = {"mapping_layers": 8, "mapping_lrmul": 0.01, "mapping_fmaps": 512}
_PLAIN_G = (
    "StyleGAN2Generator",
    {
        **_IMAGES,
        **_FEATURE_MAPS,
        **_LABELS,
        **_MAPPING,
        "latent_size": 512,
        "dlatent_size": 512,
        "architecture": "skip",
        "conv_clamp": None,
    },
)
_PLAIN_D = (
    "StyleGAN2Discriminator",
    {
        **_IMAGES,
        **_FEATURE_MAPS,
        **_LABELS,
        **_MAPPING,
        "architecture": "resnet",
        "mbstd_group_size": 4,
        "conv_clamp": None,
    },
)
PLAIN_FUNCTIONS = {
    "G_main": _PLAIN_G,
    "D_stylegan2": _PLAIN_D,
    "D_main": _PLAIN_D,
}
PLAIN_COMPONENTS = {
    "mapping": ("G_mapping",),
    "synthesis": ("G_synthesis_stylegan2", "G_synthesis"),
}
_OTHERS = {
    "G_style": "StyleGAN1",
    "D_basic": "StyleGAN1",
    "G_paper": "Progressive GAN",
    "D_paper": "Progressive GAN",
}
RENAMED = {
    "watermark_size": "fingerprint_size",
    "res_modulated_min_log2": "modulated_min_log2",
    "res_modulated_max_log2": "modulated_max_log2",
    "mapping_nonlinearity": "mapping_act",
}
# Keywords that no published model was trained with; our defaults are theirs.
OPTIONAL = {"mapping_act"}
# Keywords that must have the one value which our networks implement.
_FIXED: dict[str, Any] = {
    "label_size": 0,
    "dtype": "float32",
    "nonlinearity": "lrelu",
    "normalize_latents": False,
    "resample_kernel": [1, 3, 3, 1],
    "mbstd_num_features": 1,
}
_PLAIN_FIXED = _FIXED | {"normalize_latents": True, "use_noise": True}
# Keywords that change how the published code ran a network, not what the network computes.
_IGNORED = {
    *("randomize_noise", "fused_modconv", "is_training", "is_validation", "return_dlatents"),
    *("is_template_graph", "force_clean_graph", "mapping_func", "synthesis_func", "structure"),
    *("truncation_psi", "truncation_cutoff", "truncation_psi_val", "truncation_cutoff_val"),
    *("dlatent_avg_beta", "style_mixing_prob", "dlatent_broadcast", "num_fp16_res"),
}
UNUSED_VARIABLES = ("lod", "dlatent_avg")
AVERAGING = ("StyleGAN2Generator", "AdoptedGenerator")  # classes that do use `dlatent_avg`


@dataclass(frozen=True)
class NetworkData:
    """One network of a snapshot, as plain data that nobody has checked yet."""

    class_name: str
    kwargs: dict[str, Any]
    variables: dict[str, np.ndarray]  # by published name
    unused: dict[str, Any] = field(default_factory=dict)  # of `UNUSED_VARIABLES`, if the file had
    # Of an `AdoptedGenerator`: the bytes of the file that it came in, uint8 [M].
    original_file: np.ndarray | None = None


def is_published(content: Any) -> bool:
    """Whether an unpickled file has the published layout: one network, or a tuple of them."""
    if isinstance(content, tuple | list):
        return bool(content) and all(isinstance(item, safe_pickle.Inert) for item in content)
    return isinstance(content, safe_pickle.Inert)


def convert(content: Any, where: str) -> dict[str, NetworkData]:
    """Translates a published snapshot.

    Args:
        content: what `safe_pickle.load(..., allow=ALLOW)` gave, `is_published`.
        where: the file, for error texts.

    Returns:
        Data of the networks "E", "G", "D", "Gs"; of plain StyleGAN2 "G", "D", "Gs". One network
        alone is "Gs", "D" or "E".

    Raises:
        UserError: another number of networks, or a network that is neither one of the method's nor
            StyleGAN2's.
    """
    if isinstance(content, safe_pickle.Inert):
        data = _network(content, where, PLAIN_FUNCTIONS | FUNCTIONS)
        slots = {"Discriminator": "D", "Decoder": "E"}
        return {slots.get(data.class_name, "Gs"): data}
    is_plain = _is_plain(content[0])
    order: tuple[str, ...] = PLAIN_TUPLE if is_plain else TUPLE_ORDER
    functions = PLAIN_FUNCTIONS if is_plain else FUNCTIONS
    if len(content) != len(order):
        raise UserError(
            f"{where} holds {len(content)} networks; a snapshot of fingerprinted networks holds "
            f"{', '.join(TUPLE_ORDER)}, one of StyleGAN2 {', '.join(PLAIN_TUPLE)}, or one of them"
        )
    return {
        slot: _network(state, f"{where}: {slot}", functions)
        for slot, state in zip(order, content, strict=True)
    }


def _is_plain(inert: Any) -> bool:
    """Whether it is the first network of a snapshot without a decoder."""
    state = inert.state if isinstance(inert, safe_pickle.Inert) else None
    function = state.get("build_func_name") if isinstance(state, dict) else None
    return isinstance(function, str) and function in PLAIN_FUNCTIONS | _OTHERS


def _network(
    inert: safe_pickle.Inert, where: str, functions: dict[str, tuple[str, dict[str, Any]]]
) -> NetworkData:
    """A network that one of the functions has built."""
    state = _state(inert, where)
    function = state["build_func_name"]
    if function in _OTHERS:
        raise UserError(f"{where} is a {_OTHERS[function]} network; only StyleGAN2's can be read")
    if function not in functions:
        raise UserError(
            f"{where} was built by {safe_pickle.printable(function)}; only networks built by "
            f"{', '.join(functions)} can be read"
        )
    class_name, defaults = functions[function]
    if class_name.startswith("StyleGAN2"):
        return _plain_network(state, class_name, defaults, where)
    optional = OPTIONAL if class_name == "Generator" else set()
    kwargs = defaults | _keywords(state["static_kwargs"], {*defaults, *optional}, where)
    # Only the network itself has them, not its components; what is no pair is refused below.
    pairs = [p for p in state["variables"] if isinstance(p, tuple | list) and len(p) == 2]
    unused = {p[0]: p[1] for p in pairs if isinstance(p[0], str) and p[0] in UNUSED_VARIABLES}
    return NetworkData(class_name, kwargs, _variables(state, where), unused)


def _plain_network(
    state: dict[str, Any], class_name: str, defaults: dict[str, Any], where: str
) -> NetworkData:
    """A network of StyleGAN2 or StyleGAN2-ADA, whose average style is a variable."""
    known = {*defaults, *OPTIONAL}
    kwargs = defaults | _keywords(state["static_kwargs"], known, where, _PLAIN_FIXED)
    kwargs["conv_clamp"] = 0.0 if kwargs["conv_clamp"] is None else kwargs["conv_clamp"]
    variables = _variables(state, where, components=PLAIN_COMPONENTS)
    if "G_mapping/LabelConcat/weight" in variables:
        raise UserError(
            f"{where} takes labels as StyleGAN2's first code did (LabelConcat); of networks with "
            "labels only StyleGAN2-ADA's can be read"
        )
    if class_name in AVERAGING:
        averages = [p[1] for p in state["variables"] if p[0] == "dlatent_avg"]
        if averages:
            variables["dlatent_avg"] = averages[0]
        kwargs |= mapping_widths(variables, "G_mapping/LabelEmbed", "G_mapping/Dense0")
    else:
        kwargs |= mapping_widths(variables, "LabelEmbed", "Mapping0", "Output")
    return NetworkData(class_name, kwargs, variables)


def mapping_widths(
    variables: dict[str, Any], embed: str, dense: str, output: str = ""
) -> dict[str, Any]:
    """Widths of a mapping of StyleGAN2, which its variables tell: the defaults of versions differ.

    Args:
        variables: from a file, unchecked.
        embed, dense: scopes of the embedded labels and of the first layer.
        output: that of the layer whose width a discriminator's mapping has.
    """
    scopes = {"mapping_fmaps": dense}
    if f"{embed}/weight" in variables:  # a discriminator without labels has no mapping
        scopes |= {"label_fmaps": embed, "dlatent_size": output}
    found = {name: variables.get(f"{scope}/weight") for name, scope in scopes.items()}
    return {
        name: int(value.shape[1])
        for name, value in found.items()
        if isinstance(value, np.ndarray) and value.ndim == 2
    }


def _state(inert: Any, where: str) -> dict[str, Any]:
    """The state of a network after a check of its fields."""
    fields = {
        "version": int,
        "static_kwargs": dict,
        "build_func_name": str,
        "variables": list,
        "components": dict,
    }
    state = inert.state if isinstance(inert, safe_pickle.Inert) else None
    if state is None:
        raise UserError(f"{where} is not a network; get the file again")
    state = {"components": {}} | state
    for name, kind in fields.items():
        if not isinstance(state.get(name), kind):
            raise UserError(f"{where} is a network without a proper {name}; get the file again")
    if state["version"] not in _VERSIONS:
        raise UserError(
            f"{where} has version {state['version']} of the published layout; versions "
            f"{_VERSIONS[0]} to {_VERSIONS[-1]} can be read"
        )
    return state


def _keywords(
    static: dict[Any, Any], known: set[str], where: str, fixed: dict[str, Any] = _FIXED
) -> dict[str, Any]:
    kwargs = {}
    for published, value in static.items():
        name = RENAMED.get(published, published)
        if name in known:
            kwargs[name] = value
        elif published in fixed:
            plain = value.tolist() if isinstance(value, np.ndarray) else value
            plain = list(plain) if isinstance(plain, tuple) else plain
            if plain != fixed[published]:
                raise UserError(
                    f"{where} was made with {published}={safe_pickle.printable(value)}; only "
                    f"{fixed[published]!r} is supported"
                )
        elif published not in _IGNORED:
            raise UserError(
                f"{where} was made with the unknown keyword {safe_pickle.printable(published)}"
            )
    return kwargs


def _variables(
    state: dict[str, Any],
    where: str,
    prefix: str = "",
    components: Mapping[str, tuple[str, ...]] = _COMPONENTS,
) -> dict[str, np.ndarray]:
    """The variables of a network and, under `G_<component>/`, of its components."""
    variables = {}
    for pair in state["variables"]:
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str)):
            raise UserError(f"{where} has a variable without a name; get the file again")
        name, value = pair
        if name not in UNUSED_VARIABLES:
            # Scalars may be stored as NumPy scalars.
            variables[prefix + name] = np.asarray(value) if _is_number(value) else value
    for key, component in state["components"].items():
        if key not in components or prefix:
            raise UserError(f"{where} has the unknown component {safe_pickle.printable(key)}")
        inner = _state(component, f"{where}: {key}")
        if inner["build_func_name"] not in components[key]:
            built_by = safe_pickle.printable(inner["build_func_name"])
            raise UserError(
                f"{where}: {key} was built by {built_by}; only {components[key][0]} can be read"
            )
        variables |= _variables(inner, f"{where}: {key}", f"G_{key}/")
    return variables


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
