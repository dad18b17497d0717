"""The layers of a StyleGAN2-ADA network in PyTorch, as modules to pickle, from our variables.

Modules have the attributes that those of real files have. Real files also carry the source text of
their classes; ours carry one import from the module in which StyleGAN2-ADA's code keeps its
networks, so that no line of it is here: a file needs a checkout of that code beside it, as its
users have anyway.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dnnlib import torch_pickle_writer
from dnnlib.errors import UserError
from dnnlib.pickle_values import Call
from training.models.legacy import NetworkData
from training.models.torch_layout import DISCRIMINATOR, FILTER, GENERATOR, Rule, find_rule
from training.networks.layers import resolution_log2

MODULE = "training.networks"  # where StyleGAN2-ADA's code keeps its networks
SOURCE = "# The classes are those of StyleGAN2-ADA's code, which has to be importable.\n"
_LRELU_GAIN = math.sqrt(2)
_LR_MULTIPLIER = 0.01  # of a mapping, unless said


class Tensors:
    """Variables by the path of their tensor, and keywords as that code has them."""

    def __init__(self, data: NetworkData, where: str) -> None:
        self.kwargs = data.kwargs
        self._variables = data.variables
        is_generator = data.class_name == "StyleGAN2Generator"
        self._rules: tuple[Rule, ...] = GENERATOR if is_generator else DISCRIMINATOR
        self.last = resolution_log2(data.kwargs["resolution"])
        self.clamp: float | None = data.kwargs["conv_clamp"] or None
        self.base = 2 * data.kwargs["fmap_base"]
        if data.kwargs["mapping_act"] not in ("lrelu", "relu", "linear"):
            raise UserError(
                f"{where} has mapping_act={data.kwargs['mapping_act']}; take --layout=npz"
            )
        self._check_channels(where)

    def _check_channels(self, where: str) -> None:
        """That code knows channels by a base and a largest number only."""
        kwargs = self.kwargs
        for log2 in range(2, self.last + 1):
            if self._channels_of_ours(log2) != self.channels(log2):
                raise UserError(
                    f"{where} has fmap_decay={kwargs['fmap_decay']} and fmap_min="
                    f"{kwargs['fmap_min']}, which give other channels than StyleGAN2-ADA's code; "
                    "take --layout=npz"
                )

    def _channels_of_ours(self, log2: int) -> int:
        kwargs = self.kwargs
        channels = int(kwargs["fmap_base"] / 2.0 ** ((log2 - 1) * kwargs["fmap_decay"]))
        return min(max(channels, kwargs["fmap_min"]), kwargs["fmap_max"])

    def channels(self, log2: int) -> int:
        """Of the layers at 2**log2."""
        return int(min(self.base // 2**log2, self.kwargs["fmap_max"]))

    def tensors(self, scope: str, *names: str) -> dict[str, np.ndarray]:
        """Tensors of a module, as they lie in the file."""
        found = {}
        for name in names:
            rule = find_rule(f"{scope}.{name}", self._rules)
            assert rule is not None, f"{scope}.{name}"
            found[name] = rule[1].write(self._variables[rule[0]])
        return found


def make_module(
    class_name: str,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    filtered: bool = False,
    buffers: Mapping[str, np.ndarray] | None = None,
    attributes: Mapping[str, Any] | None = None,
    **parts: Any,
) -> Call:
    """A module, with what it was made with; `filtered` ones keep the FIR filter."""
    fir = {"resample_filter": np.asarray(FILTER, np.float32)} if filtered else {}
    return torch_pickle_writer.module(
        class_name,
        f"{SOURCE}from {MODULE} import {class_name}\n",
        buffers={**fir, **(buffers or {})},
        attributes={**(attributes or {}), "_init_args": args, "_init_kwargs": dict(kwargs or {})},
        **parts,
    )


def mapping_keywords(given: Mapping[str, Any]) -> dict[str, Any]:
    """Of a mapping, where they are not what the code has by itself."""
    said: dict[str, Any] = {"num_layers": given["mapping_layers"]}
    if given["mapping_act"] != "lrelu":
        said["activation"] = given["mapping_act"]
    if given["mapping_lrmul"] != _LR_MULTIPLIER:
        said["lr_multiplier"] = given["mapping_lrmul"]
    if given["mapping_fmaps"] != given["dlatent_size"]:
        said["layer_features"] = given["mapping_fmaps"]
    if given["label_size"] and given["label_fmaps"] != given["dlatent_size"]:
        said["embed_features"] = given["label_fmaps"]
    return said


def make_mapping(
    network: Tensors,
    kwargs: Mapping[str, Any],
    attributes: Mapping[str, Any],
    buffers: Mapping[str, np.ndarray] | None = None,
) -> Call:
    """From latents, labels or both to styles, or to the vector that a score is projected on."""
    given = network.kwargs
    lr, act, count = given["mapping_lrmul"], given["mapping_act"], given["mapping_layers"]
    width: int = kwargs["z_dim"]
    layers = {}
    if given["label_size"]:
        layers["embed"] = dense(network, "mapping.embed", given["label_size"], given["label_fmaps"])
        width += given["label_fmaps"]
    for number in range(count):
        out = given["dlatent_size"] if number == count - 1 else given["mapping_fmaps"]
        layers[f"fc{number}"] = dense(network, f"mapping.fc{number}", width, out, act, lr)
        width = out
    return make_module(
        "MappingNetwork",
        kwargs=kwargs,
        modules=layers,
        buffers=buffers,
        attributes={**attributes, "num_layers": count},
    )


def dense(
    network: Tensors,
    scope: str,
    fan_in: int,
    fan_out: int,
    activation: str = "linear",
    lr_multiplier: float = 1.0,
    **said: Any,
) -> Call:
    if activation != "linear":
        said["activation"] = activation
    if lr_multiplier != 1:
        said["lr_multiplier"] = lr_multiplier
    return make_module(
        "FullyConnectedLayer",
        (fan_in, fan_out),
        said,
        parameters=network.tensors(scope, "weight", "bias"),
        attributes={
            "activation": activation,
            "weight_gain": lr_multiplier / math.sqrt(fan_in),
            "bias_gain": lr_multiplier if lr_multiplier != 1 else 1,
        },
    )


def synthesis_layer(
    network: Tensors, scope: str, fan_in: int, fan_out: int, size: int, *, up: int = 1
) -> Call:
    width = network.kwargs["dlatent_size"]
    said: dict[str, Any] = {"w_dim": width, "resolution": size}
    if up > 1:
        said |= {"up": up, "resample_filter": [1, 3, 3, 1]}
    return make_module(
        "SynthesisLayer",
        (fan_in, fan_out),
        {**said, "conv_clamp": network.clamp, "channels_last": False},
        filtered=True,
        buffers=network.tensors(scope, "noise_const"),
        parameters=network.tensors(scope, "weight", "noise_strength", "bias"),
        modules={"affine": dense(network, f"{scope}.affine", width, fan_in, bias_init=1)},
        attributes={
            "resolution": size,
            "up": up,
            "use_noise": True,
            "activation": "lrelu",
            "conv_clamp": network.clamp,
            "padding": 1,
            "act_gain": _LRELU_GAIN,
        },
    )


def to_rgb(network: Tensors, scope: str, fan_in: int) -> Call:
    width = network.kwargs["dlatent_size"]
    return make_module(
        "ToRGBLayer",
        (fan_in, network.kwargs["num_channels"]),
        {"w_dim": width, "conv_clamp": network.clamp, "channels_last": False},
        parameters=network.tensors(scope, "weight", "bias"),
        modules={"affine": dense(network, f"{scope}.affine", width, fan_in, bias_init=1)},
        attributes={"conv_clamp": network.clamp, "weight_gain": 1 / math.sqrt(fan_in)},
    )


def conv(
    network: Tensors,
    scope: str,
    fan_in: int,
    fan_out: int,
    kernel: int,
    *,
    bias: bool = True,
    up: int = 1,
    down: int = 1,
    **said: Any,
) -> Call:
    """A convolution that no style modulates; without a bias it has no activation either."""
    clamp = network.clamp if bias else None
    kwargs: dict[str, Any] = {"kernel_size": kernel}
    kwargs |= {"activation": "lrelu", "conv_clamp": clamp} if bias else {"bias": False}
    for name, factor in (("up", up), ("down", down)):
        if factor > 1:
            kwargs |= {name: factor, "resample_filter": [1, 3, 3, 1]}
    if not scope.startswith("b4."):
        kwargs |= {"channels_last": False, **said}
    return make_module(
        "Conv2dLayer",
        (fan_in, fan_out),
        kwargs,
        filtered=True,
        parameters=network.tensors(scope, "weight", *(["bias"] if bias else [])),
        attributes={
            "activation": "lrelu" if bias else "linear",
            "up": up,
            "down": down,
            "conv_clamp": clamp,
            "padding": kernel // 2,
            "weight_gain": 1 / math.sqrt(fan_in * kernel**2),
            "act_gain": _LRELU_GAIN if bias else 1,
            **({} if bias else {"bias": None}),
        },
    )
