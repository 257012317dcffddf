"""Watches incidents as a partner would: knows the address and a token, learns everything else by reflection.

Usage: watch.py HOST:PORT DEVICE TOWN SECONDS, the token in YIWANG_TOKEN. Prints `watching` once the snapshot is over,
then the first incident of DEVICE as one JSON object, and fails if one of another town comes before it.
"""

import json
import os
import sys

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)


def main():
    address, device, town, seconds = sys.argv[1:5]
    channel = grpc.insecure_channel(address)
    reflection = ProtoReflectionDescriptorDatabase(channel)
    services = list(reflection.get_services())
    assert "yiwang.incident.v1.WatchService" in services, services
    pool = descriptor_pool.DescriptorPool(reflection)
    method = pool.FindServiceByName("yiwang.incident.v1.WatchService").methods_by_name["Watch"]
    request = message_factory.GetMessageClass(method.input_type)
    response = message_factory.GetMessageClass(method.output_type)
    watch = channel.unary_stream(
        "/yiwang.incident.v1.WatchService/Watch",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )
    call = watch(
        request(consumer="python-" + device.split("/")[1]),
        timeout=float(seconds),
        metadata=[("authorization", "Bearer " + os.environ["YIWANG_TOKEN"])],
    )
    for item in call:
        kind = item.WhichOneof("item")
        if kind == "snapshot_end":
            print("watching", flush=True)
        if kind not in ("snapshot_item", "change"):
            continue
        incident = getattr(item, kind).incident
        place = incident.place
        assert place.town.id == town, (incident.source, place.town.id)
        if incident.source == "device/" + device:
            found = {"village": place.village.id, "station": place.station.id, "town": place.town.id}
            print(json.dumps(found), flush=True)
            call.cancel()
            return
    sys.exit("the stream ended without an incident of " + device)


main()
