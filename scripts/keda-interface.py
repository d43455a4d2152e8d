"""What scripts/keda-interface does once it has KEDA's files: compares, or writes the schema."""

import json
import pathlib
import subprocess
import sys
import tempfile

import yaml
from google.protobuf import descriptor_pb2

OURS = pathlib.Path("worker/src/admin/keda/externalscaler.proto")
SCHEMA = pathlib.Path("docs/kubernetes/scaledobject.schema.json")


def wire(proto):
    """All that a client and a server must agree on, as sorted lines."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder, "set")
        protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{proto.parent}"]
        subprocess.run([*protoc, f"--descriptor_set_out={out}", proto.name], check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    lines = []

    def messages(prefix, types):
        for message in types:
            name = f"{prefix}.{message.name}"
            for field in message.field:
                kind = field.type_name or descriptor_pb2.FieldDescriptorProto.Type.Name(field.type)
                label = descriptor_pb2.FieldDescriptorProto.Label.Name(field.label)
                lines.append(f"{name}: {label} {kind} {field.name} = {field.number}")
            messages(name, message.nested_type)

    for file in files.file:
        messages(f".{file.package}", file.message_type)
        for service in file.service:
            for method in service.method:
                streams = ("stream " * method.client_streaming, "stream " * method.server_streaming)
                lines.append(
                    f"{file.package}.{service.name}/{method.name}: "
                    f"{streams[0]}{method.input_type} -> {streams[1]}{method.output_type}"
                )
    return sorted(lines)


def strict(schema):
    """A schema of Kubernetes as JSON schema: without prose, and with no key but those it names."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes")}
    # Prose, unless it is the name of a property.
    if isinstance(kept.get("description"), str):
        del kept["description"]
    kept = {key: strict(value) for key, value in kept.items()}
    open_to_all = schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(kept.get("properties"), dict) and not open_to_all:
        kept.setdefault("additionalProperties", False)
    return kept


def scaled_object(keda):
    text = (keda / "config/crd/bases/keda.sh_scaledobjects.yaml").read_text()
    (version,) = yaml.safe_load(text)["spec"]["versions"]
    schema = strict(version["schema"]["openAPIV3Schema"])
    del schema["properties"]["status"]
    # An object of Kubernetes has these whatever it is.
    schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    schema["properties"]["apiVersion"] = {"const": f"keda.sh/{version['name']}"}
    schema["properties"]["kind"] = {"const": "ScaledObject"}
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def main():
    keda = pathlib.Path(sys.argv[1])
    theirs = wire(keda / "pkg/scalers/externalscaler/externalscaler.proto")
    ours = wire(OURS)
    if ours != theirs:
        print(f"{OURS} differs from KEDA's:")
        print("\n".join(f"- {line}" for line in theirs if line not in ours))
        print("\n".join(f"+ {line}" for line in ours if line not in theirs))
        return 1
    print(f"{OURS}: the same {len(ours)} fields and methods")
    schema = scaled_object(keda)
    if sys.argv[2:] == ["--write"]:
        SCHEMA.write_text(schema)
    if SCHEMA.read_text() != schema:
        print(f"{SCHEMA} differs from KEDA's: write it anew by `scripts/keda-interface VERSION --write`")
        return 1
    print(f"{SCHEMA}: the same")
    return 0


sys.exit(main())
