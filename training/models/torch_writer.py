"""Our plain StyleGAN2 -> a snapshot of StyleGAN2-ADA in PyTorch; no torch is imported.

The counterpart of `torch_layout`, whose tables say which variable a tensor is; layers are made in
`torch_modules`.
"""

import os
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from dnnlib import pickle_writer
from dnnlib.atomic import open_atomic
from dnnlib.errors import UserError
from dnnlib.pickle_values import Call
from training.models.legacy import NetworkData
from training.models.torch_modules import (
    Tensors,
    conv,
    dense,
    make_mapping,
    make_module,
    mapping_keywords,
    synthesis_layer,
    to_rgb,
)

_SLOTS = {"G": "G", "D": "D", "G_ema": "Gs"}
_CLASSES = {"G": "StyleGAN2Generator", "D": "StyleGAN2Discriminator", "Gs": "StyleGAN2Generator"}
# What that code has by itself.
_NUM_LAYERS = 8  # of a mapping
_GROUP_SIZE = 4
_W_AVG_BETA = 0.995


def save_torch(
    path: str | os.PathLike[str], networks: Mapping[str, NetworkData], where: str
) -> None:
    """Writes the pickle of G, D and G_ema, completely or not at all.

    Args:
        path: file name, by custom `*.pkl`.
        networks: all of "G", "D", "Gs", checked, all keywords and float32 variables there
            (`snapshot.network_data`).
        where: the snapshot that they come from, for error texts.

    Raises:
        UserError: a network is missing or not plain StyleGAN2, or its keywords are none of that
            code's; or the file cannot be written.
    """
    if any(data.class_name == "AdoptedGenerator" for data in networks.values()):
        raise UserError(
            f"{where} holds an adopted generator; `issue` writes instances of it in the layout "
            "that it came in, or take --layout=npz"
        )
    for slot, class_name in _CLASSES.items():
        if slot in networks and networks[slot].class_name != class_name:
            raise UserError(
                f"{where}: {slot} is a {networks[slot].class_name}; only plain StyleGAN2 has this "
                "layout, take --layout=npz"
            )
    missing = [slot for slot in _CLASSES if slot not in networks]
    if missing:
        raise UserError(
            f"{where} lacks {' and '.join(missing)}: such a file holds G, D and Gs; name a "
            "snapshot of a training, or take --layout=npz"
        )
    content: dict[str, Any] = {"training_set_kwargs": None, "augment_pipe": None}
    for theirs, ours in _SLOTS.items():
        make = _discriminator if ours == "D" else _generator
        content[theirs] = make(Tensors(networks[ours], f"{where}: {ours}"))
    with open_atomic(path) as file:
        pickle_writer.dump(content, file)


def _generator(network: Tensors) -> Call:
    given = network.kwargs
    latent = {"z_dim": given["latent_size"], "c_dim": given["label_size"]}
    images = {"img_resolution": given["resolution"], "img_channels": given["num_channels"]}
    width = {"w_dim": given["dlatent_size"]}
    slots = 2 * network.last - 2
    maps = {"channel_base": network.base, "channel_max": given["fmap_max"]}
    synthesis = {**maps, "architecture": given["architecture"], "num_fp16_res": 0}
    if network.clamp is not None:
        synthesis["conv_clamp"] = network.clamp
    mapping = mapping_keywords(given)
    resolutions = [2**log2 for log2 in range(2, network.last + 1)]
    blocks = {f"b{2**log2}": _synthesis_block(network, log2) for log2 in range(2, network.last + 1)}
    parts = {
        "synthesis": make_module(
            "SynthesisNetwork",
            kwargs={**width, **images, **synthesis},
            modules=blocks,
            attributes={
                **width,
                **images,
                "img_resolution_log2": network.last,
                "block_resolutions": resolutions,
                "num_ws": slots,
            },
        ),
        "mapping": make_mapping(
            network,
            {**latent, **width, "num_ws": slots, **mapping},
            {**latent, **width, "num_ws": slots, "w_avg_beta": _W_AVG_BETA},
            network.tensors("mapping", "w_avg"),
        ),
    }
    return make_module(
        "Generator",
        kwargs={
            **latent,
            **width,
            **images,
            "mapping_kwargs": mapping,
            "synthesis_kwargs": synthesis,
        },
        modules=parts,
        attributes={**latent, **width, **images, "num_ws": slots},
    )


def _synthesis_block(network: Tensors, log2: int) -> Call:
    given, scope, size = network.kwargs, f"synthesis.b{2**log2}", 2**log2
    is_first, is_last = log2 == 2, log2 == network.last
    before = 0 if is_first else network.channels(log2 - 1)
    channels = network.channels(log2)
    architecture = given["architecture"]
    layers = {}
    if not is_first:
        layers["conv0"] = synthesis_layer(network, f"{scope}.conv0", before, channels, size, up=2)
    layers["conv1"] = synthesis_layer(network, f"{scope}.conv1", channels, channels, size)
    has_rgb = is_last or architecture == "skip"
    if has_rgb:
        layers["torgb"] = to_rgb(network, f"{scope}.torgb", channels)
    if not is_first and architecture == "resnet":
        layers["skip"] = conv(network, f"{scope}.skip", before, channels, 1, bias=False, up=2)
    clamp = {} if network.clamp is None else {"conv_clamp": network.clamp}
    common = {
        "w_dim": given["dlatent_size"],
        "resolution": size,
        "img_channels": given["num_channels"],
        "is_last": is_last,
        "use_fp16": False,
        "architecture": architecture,
    }
    return make_module(
        "SynthesisBlock",
        (before, channels),
        {**common, **clamp},
        filtered=True,
        parameters=network.tensors(scope, "const") if is_first else {},
        modules=layers,
        attributes={
            **common,
            "in_channels": before,
            "channels_last": False,
            "num_conv": 1 if is_first else 2,
            "num_torgb": int(has_rgb),
        },
    )


def _discriminator(network: Tensors) -> Call:
    given = network.kwargs
    labels = given["label_size"]
    images = {"img_resolution": given["resolution"], "img_channels": given["num_channels"]}
    maps = {"channel_base": network.base, "channel_max": given["fmap_max"]}
    said = {"c_dim": labels, **images, **maps, "architecture": given["architecture"]}
    said["num_fp16_res"] = 0
    if network.clamp is not None:
        said["conv_clamp"] = network.clamp
    if labels and mapping_keywords(given) != {"num_layers": _NUM_LAYERS}:
        said["mapping_kwargs"] = mapping_keywords(given)
    if given["mbstd_group_size"] != _GROUP_SIZE:
        said["epilogue_kwargs"] = {"mbstd_group_size": given["mbstd_group_size"]}
    modules = dict(_discriminator_blocks(network))
    if labels:
        own = {"z_dim": 0, "c_dim": labels, "w_dim": given["dlatent_size"], "num_ws": None}
        own["w_avg_beta"] = None
        more = said.get("mapping_kwargs", {})
        modules["mapping"] = make_mapping(network, {**own, **more}, own)
    modules["b4"] = _epilogue(network)
    return make_module(
        "Discriminator",
        kwargs=said,
        modules=modules,
        attributes={
            "c_dim": labels,
            **images,
            "img_resolution_log2": network.last,
            "block_resolutions": [2**log2 for log2 in range(network.last, 2, -1)],
        },
    )


def _discriminator_blocks(network: Tensors) -> Iterator[tuple[str, Call]]:
    given, architecture = network.kwargs, network.kwargs["architecture"]
    number = 0  # of the first layer of a block
    for log2 in range(network.last, 2, -1):
        scope, size, is_first = f"b{2**log2}", 2**log2, log2 == network.last
        here, below = network.channels(log2), network.channels(log2 - 1)
        before = 0 if is_first else here
        make = partial(conv, network, trainable=True)
        layers: dict[str, Call] = {}
        if is_first or architecture == "skip":
            layers["fromrgb"] = make(f"{scope}.fromrgb", given["num_channels"], here, 1)
        layers["conv0"] = make(f"{scope}.conv0", here, here, 3)
        layers["conv1"] = make(f"{scope}.conv1", here, below, 3, down=2)
        if architecture == "resnet":
            layers["skip"] = make(f"{scope}.skip", here, below, 1, bias=False, down=2)
        common = {
            "resolution": size,
            "first_layer_idx": number,
            "use_fp16": False,
            "img_channels": given["num_channels"],
            "architecture": architecture,
        }
        yield (
            scope,
            make_module(
                "DiscriminatorBlock",
                (before, here, below),
                {**common, "conv_clamp": network.clamp},
                filtered=True,
                modules=layers,
                attributes={
                    **common,
                    "in_channels": before,
                    "channels_last": False,
                    "num_layers": len(layers),
                },
            ),
        )
        number += len(layers)


def _epilogue(network: Tensors) -> Call:
    given, channels = network.kwargs, network.channels(2)
    labels, group = given["label_size"], given["mbstd_group_size"]
    layers = {}
    if given["architecture"] == "skip":
        layers["fromrgb"] = conv(network, "b4.fromrgb", given["num_channels"], channels, 1)
    groups = {"group_size": group, "num_channels": 1}
    layers["mbstd"] = make_module("MinibatchStdLayer", kwargs=groups, attributes=groups)
    layers["conv"] = conv(network, "b4.conv", channels + 1, channels, 3)
    layers["fc"] = dense(network, "b4.fc", channels * 16, channels, "lrelu")
    width = given["dlatent_size"] if labels else 1
    layers["out"] = dense(network, "b4.out", channels, width)
    common = {
        "cmap_dim": given["dlatent_size"] if labels else 0,
        "resolution": 4,
        "img_channels": given["num_channels"],
        "architecture": given["architecture"],
    }
    more = {} if group == _GROUP_SIZE else {"mbstd_group_size": group}
    return make_module(
        "DiscriminatorEpilogue",
        (channels,),
        {**common, "conv_clamp": network.clamp, **more},
        modules=layers,
        attributes={**common, "in_channels": channels},
    )
