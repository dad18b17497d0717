"""A decoder for other programs, such as browsers: ONNX."""

import tensorflow as tf

from dnnlib.pixels import centred
from training.models.export import OPSET, import_onnx
from training.networks.decoder import Decoder


def decoder_onnx(decoder: Decoder) -> bytes:
    """A decoder as an ONNX model: `pixels`, uint8 [N,H,W,C], to `logits`, float32 [N,B].

    It is plain TensorFlow that is converted: no operation of ours, nothing that XLA has compiled.

    Args:
        decoder: of a snapshot.

    Returns:
        The content of a file.

    Raises:
        UserError: the packages that it needs are missing.
    """
    onnx, convert = import_onnx()
    shape = [None, decoder.resolution, decoder.resolution, decoder.num_channels]
    signature = [tf.TensorSpec(shape, tf.uint8, name="pixels")]

    def serve(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        with decoder.running_with("reference"):
            _, logits = decoder(centred(tf.cast(pixels, tf.float32)))
        return {"logits": tf.identity(logits, name="logits")}

    function = tf.function(serve, autograph=False, input_signature=signature)
    model, _ = convert.from_function(function, input_signature=signature, opset=OPSET)
    model.graph.doc_string = ""  # else the name of a Python function
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content
