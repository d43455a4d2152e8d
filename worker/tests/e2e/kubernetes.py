"""Checks manifests against the schemas of Kubernetes and of KEDA; prints what is wrong.

    kubernetes.py SCHEMA_OF_SCALED_OBJECT MANIFEST...
"""

import json
import pathlib
import sys

import jsonschema
import kubernetes_validate
import yaml

schema, *manifests = sys.argv[1:]
# The first that knows a `sleep` in preStop, and the newest.
known = [tuple(map(int, version.split(".")[:2])) for version in kubernetes_validate.utils.all_versions()]
versions = [f"{major}.{minor}" for major, minor in {(1, 30), max(known)}]
scaled_object = jsonschema.Draft7Validator(json.loads(pathlib.Path(schema).read_text()))
wrong = 0
for manifest in manifests:
    for resource in yaml.safe_load_all(pathlib.Path(manifest).read_text()):
        kind = resource.get("kind")
        what = f"{pathlib.Path(manifest).name}: {kind}"
        if kind == "ScaledObject":
            problems = [error.message for error in scaled_object.iter_errors(resource)]
        else:
            problems = []
            for version in versions:
                try:
                    kubernetes_validate.validate(resource, version, strict=True)
                except Exception as error:  # the validator has a type for each fault
                    problems.append(f"{version}: {getattr(error, 'message', error)}")
        print(what, *problems, sep="\n  ")
        wrong += len(problems)
sys.exit(1 if wrong else 0)
