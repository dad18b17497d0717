"""StyleGAN2-ADA's PyTorch snapshots -> class, keyword arguments and variables of our networks.

Such a file is a dict of the modules G, D and G_ema, each with the keywords it was made with and
its tensors. What `safe_pickle` read of it with the names of `dnnlib.torch_pickle` is plain data.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from dnnlib.errors import UserError
from dnnlib.safe_pickle import Inert, printable
from training.models.legacy import NetworkData, mapping_widths

_SLOTS = {"G": "G", "D": "D", "G_ema": "Gs"}
# The FIR filter [1,3,3,1] in two dimensions, normalised to sum 1.
FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64

_MAX_TENSORS = 1024  # of one network; one of 1024x1024 pixels has about 170
_MAX_WIDTH = 1 << 16  # of a bias
Transform = Callable[[np.ndarray], np.ndarray]


class Form(NamedTuple):
    """How the values of a variable lie in such a file; each undoes the other."""

    read: Transform  # from the file's to ours
    write: Transform


class Rule(NamedTuple):
    """Names of tensors that match `path` become `name`, a template of the groups."""

    path: str
    name: str
    form: Form


def _same(value: np.ndarray) -> np.ndarray:
    return value


def _transposed(value: np.ndarray) -> np.ndarray:
    return value.T


def _conv(value: np.ndarray) -> np.ndarray:
    """[O,I,k,k] -> [k,k,I,O]."""
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value


def _their_conv(value: np.ndarray) -> np.ndarray:
    """[k,k,I,O] -> [O,I,k,k]."""
    return value.transpose(3, 2, 0, 1) if value.ndim == 4 else value


def _flip(value: np.ndarray) -> np.ndarray:
    """Kernels [k,k,I,O] the other way round."""
    return value[::-1, ::-1] if value.ndim == 4 else value


SAME = Form(_same, _same)
_DENSE = Form(_transposed, _transposed)
_CONV = Form(_conv, _their_conv)
# Of a layer that doubles the resolution: there the kernel lies the other way round.
_FLIPPED = Form(lambda value: _flip(_conv(value)), lambda value: _their_conv(_flip(value)))
# Biases of styles: theirs are around 1, ours are added to 1.
_LESS_ONE = Form(lambda value: value - np.float32(1), lambda value: value + np.float32(1))
_MAP = Form(lambda value: value[None, None], lambda value: value[0, 0])
_CONST = Form(lambda value: value[None], lambda value: value[0])


# What stands for a resolution: {1}x{1}. Noise maps are numbered by `find_rule`.
_LAYERS = {r"conv0": "Conv0_up", r"conv1": "Conv1", r"torgb": "ToRGB"}
GENERATOR = (
    Rule(r"mapping\.w_avg", "dlatent_avg", SAME),
    Rule(r"mapping\.embed\.weight", "G_mapping/LabelEmbed/weight", _DENSE),
    Rule(r"mapping\.embed\.bias", "G_mapping/LabelEmbed/bias", SAME),
    Rule(r"mapping\.fc(\d+)\.weight", "G_mapping/Dense{0}/weight", _DENSE),
    Rule(r"mapping\.fc(\d+)\.bias", "G_mapping/Dense{0}/bias", SAME),
    Rule(r"synthesis\.b4\.const", "G_synthesis/4x4/Const/const", _CONST),
    Rule(r"synthesis\.b(\d+)\.(conv0)\.weight", "G_synthesis/{0}x{0}/{1}/weight", _FLIPPED),
    Rule(r"synthesis\.b(\d+)\.(conv1|torgb)\.weight", "G_synthesis/{0}x{0}/{1}/weight", _CONV),
    Rule(
        r"synthesis\.b(\d+)\.(conv0|conv1|torgb)\.(bias|noise_strength)",
        "G_synthesis/{0}x{0}/{1}/{2}",
        SAME,
    ),
    Rule(
        r"synthesis\.b(\d+)\.(conv0|conv1|torgb)\.affine\.weight",
        "G_synthesis/{0}x{0}/{1}/mod_weight",
        _DENSE,
    ),
    Rule(
        r"synthesis\.b(\d+)\.(conv0|conv1|torgb)\.affine\.bias",
        "G_synthesis/{0}x{0}/{1}/mod_bias",
        _LESS_ONE,
    ),
    Rule(r"synthesis\.b(\d+)\.(conv0|conv1)\.noise_const", "G_synthesis/noise{2}", _MAP),
    Rule(r"synthesis\.b(\d+)\.skip\.weight", "G_synthesis/{0}x{0}/Skip/weight", _FLIPPED),
)
DISCRIMINATOR = (
    Rule(r"mapping\.embed\.weight", "LabelEmbed/weight", _DENSE),
    Rule(r"mapping\.embed\.bias", "LabelEmbed/bias", SAME),
    Rule(r"mapping\.fc(\d+)\.weight", "Mapping{0}/weight", _DENSE),
    Rule(r"mapping\.fc(\d+)\.bias", "Mapping{0}/bias", SAME),
    Rule(r"b(\d+)\.fromrgb\.weight", "{0}x{0}/FromRGB/weight", _CONV),
    Rule(r"b(\d+)\.fromrgb\.bias", "{0}x{0}/FromRGB/bias", SAME),
    Rule(r"b(\d+)\.conv0\.weight", "{0}x{0}/Conv0/weight", _CONV),
    Rule(r"b(\d+)\.conv0\.bias", "{0}x{0}/Conv0/bias", SAME),
    Rule(r"b(\d+)\.conv1\.weight", "{0}x{0}/Conv1_down/weight", _CONV),
    Rule(r"b(\d+)\.conv1\.bias", "{0}x{0}/Conv1_down/bias", SAME),
    Rule(r"b(\d+)\.skip\.weight", "{0}x{0}/Skip/weight", _CONV),
    Rule(r"b4\.conv\.weight", "4x4/Conv/weight", _CONV),
    Rule(r"b4\.conv\.bias", "4x4/Conv/bias", SAME),
    Rule(r"b4\.fc\.weight", "4x4/Dense0/weight", _DENSE),
    Rule(r"b4\.fc\.bias", "4x4/Dense0/bias", SAME),
    Rule(r"b4\.out\.weight", "Output/weight", _DENSE),
    Rule(r"b4\.out\.bias", "Output/bias", SAME),
)

# Keywords that must have the one value which our networks implement.
_FIXED: dict[str, Any] = {
    "activation": "lrelu",
    "resample_filter": [1, 3, 3, 1],
    "use_noise": True,
    "kernel_size": 3,
    "mbstd_num_channels": 1,
}
# Keywords that change how the original code runs a network, or that its tensors tell.
_IGNORED = {
    *("num_fp16_res", "use_fp16", "fp16_channels_last", "channels_last", "fused_modconv"),
    *("fused_modconv_default", "w_avg_beta", "freeze_layers", "conv_clamp"),
    *("embed_features", "layer_features", "cmap_dim"),
}
_NESTED = ("mapping_kwargs", "synthesis_kwargs", "block_kwargs", "epilogue_kwargs")


def is_torch(content: Any) -> bool:
    """Whether an unpickled file has the layout: a dict with modules."""
    return isinstance(content, dict) and any(isinstance(content.get(k), Inert) for k in _SLOTS)


def convert(content: dict[str, Any], where: str) -> dict[str, NetworkData]:
    """Translates a snapshot of which `is_torch` holds.

    Args:
        content: what `safe_pickle.load` gave.
        where: the file, for error texts.

    Returns:
        Data of the networks "G", "D" and "Gs", those of them that the file has.

    Raises:
        UserError: a StyleGAN3 network, or one with keywords or tensors that ours do not have.
    """
    return {
        ours: _network(content[theirs], f"{where}: {theirs}")
        for theirs, ours in _SLOTS.items()
        if content.get(theirs) is not None
    }


def generators_as_stored(
    content: dict[str, Any], where: str
) -> dict[str, dict[str, tuple[np.ndarray, Form]]]:
    """The tensors of the generators as they lie in a file, under our names, and their form.

    Args:
        content: of which `convert` has taken the networks.
        where: the file, for error texts.

    Returns:
        By slot, "G" and "Gs", those of them that the file has. Shapes and values are the file's,
        which `Form.read` makes ours.
    """
    found: dict[str, dict[str, tuple[np.ndarray, Form]]] = {}
    for theirs, ours in _SLOTS.items():
        if ours != "D" and content.get(theirs) is not None:
            named = [(find_rule(p, GENERATOR), v) for p, v in tensors(content[theirs], where)]
            found[ours] = {n[0]: (value, n[1]) for n, value in named if n is not None}
    return found


def tensors(module: Inert, where: str, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """All tensors of a module by their path, such as `synthesis.b4.conv1.bias`, as they are.

    Raises:
        UserError: something else than a module of modules and tensors.
    """
    state = _part(module, where)
    for group in ("_parameters", "_buffers"):
        for name, value in _dict(state, group, where).items():
            if isinstance(value, np.ndarray):
                yield f"{prefix}{name}", value
            elif value is not None:
                raise UserError(f"{where}: {printable(name)} is no tensor; get the file again")
    for name, inner in _dict(state, "_modules", where).items():
        yield from tensors(inner, where, f"{prefix}{name}.")


def _network(module: Any, where: str) -> NetworkData:
    state = _part(module, where)
    name = module.class_name
    parts = {"Generator": _generator, "Discriminator": _discriminator}
    if name not in parts:
        raise UserError(
            f"{where} is a {printable(name)}; only StyleGAN2's Generator and Discriminator can be "
            "read"
        )
    if _child(module, "synthesis.input") is not None:
        raise UserError(f"{where} is a StyleGAN3 network, which is not supported; take StyleGAN2")
    if state.get("_init_args", ()) != ():
        raise UserError(f"{where} was made with keywords that have no names; get the file again")
    return parts[name](module, _keywords(state, where), where)


def _generator(module: Inert, given: dict[str, Any], where: str) -> NetworkData:
    variables = _variables(module, GENERATOR, where)
    names = {"z_dim": "latent_size", "w_dim": "dlatent_size"}
    kwargs = {"architecture": "skip"} | _known(given, names, where)
    kwargs |= {"stored_noise": True, "conv_clamp": _clamp(module, "synthesis.b4.conv1")}
    kwargs |= mapping_widths(variables, "G_mapping/LabelEmbed", "G_mapping/Dense0")
    return NetworkData("StyleGAN2Generator", kwargs, variables)


def _discriminator(module: Inert, given: dict[str, Any], where: str) -> NetworkData:
    variables = _variables(module, DISCRIMINATOR, where)
    names = {"mbstd_group_size": "mbstd_group_size"}
    kwargs = {"architecture": "resnet"} | _known(given, names, where)
    kwargs |= {"conv_clamp": _clamp(module, "b4.conv")}
    kwargs |= mapping_widths(variables, "LabelEmbed", "Mapping0", "Output")
    return NetworkData("StyleGAN2Discriminator", kwargs, variables)


def _keywords(state: dict[str, Any], where: str) -> dict[str, Any]:
    """All keywords, those of the parts too, under names that do not clash."""
    given = dict(_dict(state, "_init_kwargs", where))
    for nested in _NESTED:
        inner = given.pop(nested, {})
        if not isinstance(inner, dict):
            raise UserError(f"{where} has no proper {nested}; get the file again")
        # Those of the mapping clash with those of the layers.
        given |= {f"mapping.{k}": v for k, v in inner.items()} if nested[0] == "m" else inner
    return given


def _known(given: dict[str, Any], names: dict[str, str], where: str) -> dict[str, Any]:
    """Keywords under our names, with the defaults of the original code."""
    names = names | {
        "c_dim": "label_size",
        "img_resolution": "resolution",
        "img_channels": "num_channels",
        "channel_max": "fmap_max",
        "architecture": "architecture",
        "mapping.num_layers": "mapping_layers",
        "mapping.lr_multiplier": "mapping_lrmul",
        "mapping.activation": "mapping_act",
    }
    base = given.pop("channel_base", 32768)
    kwargs: dict[str, Any] = {"fmap_base": base // 2 if isinstance(base, int) else base}
    for theirs, value in given.items():
        name = theirs.removeprefix("mapping.")
        if theirs in names:
            kwargs[names[theirs]] = value
        elif name in _FIXED:
            plain = value.tolist() if isinstance(value, np.ndarray) else value
            plain = list(plain) if isinstance(plain, tuple) else plain
            if plain != _FIXED[name]:
                raise UserError(
                    f"{where} was made with {name}={printable(value)}; only {_FIXED[name]!r} is "
                    "supported"
                )
        elif name not in _IGNORED:
            raise UserError(f"{where} was made with the unknown keyword {printable(theirs)}")
    return kwargs


def _variables(module: Inert, rules: tuple[Rule, ...], where: str) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for path, value in tensors(module, where):
        if path.rpartition(".")[2] == "resample_filter":
            if value.shape != FILTER.shape or not np.allclose(value, FILTER):
                raise UserError(f"{where}: {printable(path)} is not [1, 3, 3, 1], as in ours")
            continue
        named = find_rule(path, rules)
        if named is None:
            raise UserError(
                f"{where} has the tensor {printable(path)}, which no StyleGAN2 network has"
            )
        name, form = named
        # Before anything is computed of what the file may have placed a thousand times.
        if len(found) >= _MAX_TENSORS or (form is _LESS_ONE and value.size > _MAX_WIDTH):
            raise UserError(f"{where} has more or larger tensors than any network; get it again")
        found[name] = form.read(value)
    return found


def find_rule(path: str, rules: tuple[Rule, ...]) -> tuple[str, Form] | None:
    """Our name for a tensor, and the form of its values."""
    for rule in rules:
        match = re.fullmatch(rule.path, path, re.ASCII)
        if match is None:
            continue
        groups = list(match.groups())
        if len(groups) > 1:
            log2 = int(groups[0][:6]).bit_length() - 1
            groups.append(str(2 * log2 - (5 if groups[1] == "conv0" else 4)))  # of the noise map
            groups[1] = "Conv" if groups[:2] == ["4", "conv1"] else _LAYERS[groups[1]]
            if len(groups) == 4:
                groups[2:] = groups[2:3]
        return rule.name.format(*groups), rule.form
    return None


def _child(module: Inert, path: str) -> Inert | None:
    """The module within a module at a path of names."""
    found: Any = module
    for name in path.split("."):
        state = found.state if isinstance(found, Inert) else None
        modules = state.get("_modules") if isinstance(state, dict) else None
        found = modules.get(name) if isinstance(modules, dict) else None
    return found if isinstance(found, Inert) else None


def _clamp(module: Inert, path: str) -> Any:
    """`conv_clamp` as a layer has it: two versions of the original code differ in its default."""
    layer = _child(module, path)
    value = None if layer is None or layer.state is None else layer.state.get("conv_clamp")
    return 0.0 if value is None else value


def _part(module: Any, where: str) -> dict[str, Any]:
    if not isinstance(module, Inert) or not isinstance(module.state, dict):
        raise UserError(f"{where} is not a network; get the file again")
    return module.state


def _dict(state: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    value = state.get(name, {})
    if not isinstance(value, dict):
        raise UserError(f"{where} is a network without proper {name}; get the file again")
    return {str(key): item for key, item in value.items()}
