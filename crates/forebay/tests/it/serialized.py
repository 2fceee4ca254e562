"""Values as Confluent's serializers write them, with a schema that they register.

A schema is `{"registry": URL, "type": TYPE, ...}`; `AVRO` and `JSON` have the text of a schema and its references in `text` and
`references`, `PROTOBUF` has a FileDescriptorProto as JSON in `file`, the name of the message in `message`, and perhaps the text of the file.
"""
import functools
import json

from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, timestamp_pb2  # noqa: F401


def protobuf(registry, schema):
    file = json_format.ParseDict(schema["file"], descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.Default()
    pool.Add(file)
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(schema["message"]))
    serializer = ProtobufSerializer(kind, registry, {"use.deprecated.format": False})

    def write(value, context):
        written = serializer(json_format.ParseDict(value, kind()), context)
        if "text" not in schema:
            return written
        # This client registers a descriptor. Others register the text of the file, and write the same but for the id.
        number = registry.register_schema(f"{context.topic}-text", Schema(schema["text"], "PROTOBUF"))
        return b"\0" + number.to_bytes(4, "big") + written[5:]

    return write


@functools.cache
def serializer(text):
    schema = json.loads(text)
    registry = SchemaRegistryClient({"url": schema["registry"]})
    if schema["type"] == "PROTOBUF":
        return protobuf(registry, schema)
    references = []
    for name, referred in schema.get("references", {}).items():
        registry.register_schema(name, Schema(referred, schema["type"]))
        references.append(SchemaReference(name, name, registry.get_latest_version(name).version))
    written = Schema(schema["text"], schema["type"], references)
    return AvroSerializer(registry, written) if schema["type"] == "AVRO" else JSONSerializer(written, registry)


def serialized(topic, schema, value):
    return serializer(json.dumps(schema))(value, SerializationContext(topic, MessageField.VALUE))
