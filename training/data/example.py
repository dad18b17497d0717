"""The message that a record is: tf.train.Example, without TensorFlow, whose import takes seconds.

The fields are those of tensorflow/core/example/example.proto and feature.proto: numbers and types
are all that the bytes depend on.
"""

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_PACKAGE = "tensorflow"
_LISTS = {  # message -> type of its values
    "BytesList": FieldDescriptorProto.TYPE_BYTES,
    "FloatList": FieldDescriptorProto.TYPE_FLOAT,
    "Int64List": FieldDescriptorProto.TYPE_INT64,
}
_KINDS = {"bytes_list": "BytesList", "float_list": "FloatList", "int64_list": "Int64List"}


def _add_field(
    message: Any, name: str, number: int, type_name: str, *, repeated: bool = False
) -> FieldDescriptorProto:
    field: FieldDescriptorProto = message.field.add(
        name=name,
        number=number,
        type=FieldDescriptorProto.TYPE_MESSAGE,
        type_name=f".{_PACKAGE}.{type_name}",
        label=(
            FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
        ),
    )
    return field


def _make_example() -> Any:
    file = FileDescriptorProto(name="example.proto", package=_PACKAGE, syntax="proto3")
    for name, kind in _LISTS.items():
        file.message_type.add(name=name).field.add(
            name="value", number=1, type=kind, label=FieldDescriptorProto.LABEL_REPEATED
        )
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, type_name) in enumerate(_KINDS.items(), start=1):
        _add_field(feature, name, number, type_name).oneof_index = 0
    features = file.message_type.add(name="Features")
    _add_field(features, "feature", 1, "Features.FeatureEntry", repeated=True)
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(
        name="key",
        number=1,
        type=FieldDescriptorProto.TYPE_STRING,
        label=FieldDescriptorProto.LABEL_OPTIONAL,
    )
    _add_field(entry, "value", 2, "Feature")
    _add_field(file.message_type.add(name="Example"), "features", 1, "Features")
    pool = DescriptorPool()  # of its own: TensorFlow has these names in the common one
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Example"))


Example = _make_example()
