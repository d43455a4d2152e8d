"""A client as KEDA is one, generated from the interface: asks, and prints what it hears as JSON lines.

    keda.py PROTO ADDRESS KEY=VALUE... METHOD...

KEY=VALUE are the trigger's metadata. A stream is followed until the process is killed.
"""

import importlib
import json
import pathlib
import sys
import tempfile

import grpc
from google.protobuf.json_format import MessageToDict
from grpc_tools import protoc

proto, address, *rest = sys.argv[1:]
metadata = dict(item.split("=", 1) for item in rest if "=" in item)
methods = [item for item in rest if "=" not in item]
# For what KEDA does with a header of its own making, should it learn to.
headers = [("authorization", metadata.pop("HEADER"))] if "HEADER" in metadata else []

folder = tempfile.mkdtemp()
path = pathlib.Path(proto)
arguments = [f"-I{path.parent}", f"--python_out={folder}", f"--grpc_python_out={folder}", path.name]
if protoc.main(["protoc", *arguments]) != 0:
    sys.exit("the interface cannot be compiled")
sys.path.insert(0, folder)
messages = importlib.import_module(f"{path.stem}_pb2")
services = importlib.import_module(f"{path.stem}_pb2_grpc")


def say(method, **what):
    print(json.dumps({"method": method, **what}), flush=True)


channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
scaler = services.ExternalScalerStub(channel)
object_ref = messages.ScaledObjectRef(name="orders", namespace="default", scalerMetadata=metadata)
for method in methods:
    request = object_ref
    if method == "GetMetrics":
        request = messages.GetMetricsRequest(scaledObjectRef=object_ref, metricName="desired_workers")
    try:
        answer = getattr(scaler, method)(request, metadata=headers, wait_for_ready=False)
        streams = method.startswith("Stream")
        for message in answer if streams else [answer]:
            said = MessageToDict(message, always_print_fields_with_no_presence=True)
            say(method, answer=said)
    except grpc.RpcError as error:
        say(method, code=error.code().name, details=error.details())
