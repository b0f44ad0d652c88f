#!/usr/bin/python3
"""Decodes Kubernetes manifests on standard input strictly: every member must be one that the API has, of its type, and none that the API
requires may be missing. The types are those of Debian's python3-kubernetes, generated from the API's own OpenAPI description."""

import sys

import yaml
from kubernetes import client

KINDS = {("v1", "Service"): "V1Service", ("apps/v1", "StatefulSet"): "V1StatefulSet"}
PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float)}


def decode(value, kind, path):
    if kind.startswith("list["):
        if not isinstance(value, list):
            sys.exit(f"{path}: no list: {value!r}")
        return [decode(item, kind[5:-1], f"{path}[{i}]") for i, item in enumerate(value)]
    if kind.startswith("dict("):
        if not isinstance(value, dict):
            sys.exit(f"{path}: no map: {value!r}")
        return {key: decode(item, kind[5:-1].split(", ", 1)[1], f"{path}.{key}") for key, item in value.items()}
    if kind == "object":
        return value
    if kind in PLAIN:
        if not isinstance(value, PLAIN[kind]) or (kind == "int" and isinstance(value, bool)):
            sys.exit(f"{path}: not of type {kind}: {value!r}")
        return value
    model = getattr(client, kind)
    names = {member: name for name, member in model.attribute_map.items()}
    if not isinstance(value, dict):
        sys.exit(f"{path}: no {kind}: {value!r}")
    for member in value:
        if member not in names:
            sys.exit(f"{path}.{member}: {kind} has no such member")
    known = {names[m]: decode(v, model.openapi_types[names[m]], f"{path}.{m}") for m, v in value.items()}
    try:
        return model(**known)
    except ValueError as error:  # what is required is missing
        sys.exit(f"{path}: {error}")


def main():
    documents = list(yaml.safe_load_all(sys.stdin))
    for document in documents:
        kind = KINDS.get((document.get("apiVersion"), document.get("kind")))
        if kind is None:
            sys.exit(f"an unexpected document: {document.get('apiVersion')} {document.get('kind')}")
        decode(document, kind, document["kind"])
    if [document["kind"] for document in documents] != ["Service", "StatefulSet"]:
        sys.exit("not a Service and a StatefulSet")
    service, vms = documents
    labels = vms["spec"]["template"]["metadata"]["labels"]
    for selector in (service["spec"]["selector"], vms["spec"]["selector"]["matchLabels"]):
        if not selector.items() <= labels.items():
            sys.exit(f"{selector} does not select {labels}")
    print(f"decoded {len(documents)} documents")


main()
