"""The Kubernetes file of docs/cluster is one that the API accepts, and the check refuses what the API refuses."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from kuberay import SCHEMAS

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs" / "cluster" / "rayjob.yaml"


def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(FILE.read_text()))


def check(document: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(SCHEMAS[document["kind"]]).validate(document)


def job() -> dict[str, Any]:
    return next(copy.deepcopy(document) for document in documents() if document["kind"] == "RayJob")


def test_every_document_is_valid() -> None:
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    assert [document["kind"] for document in documents()] == ["PersistentVolumeClaim", "RayJob"]
    for document in documents():
        check(document)


def cluster(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["spec"]["rayClusterSpec"]
    return found


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda j: cluster(j)["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
            "0 is not of type 'string'",
        ),
        (lambda j: j["spec"].update(entryPoint="x"), "'entryPoint' was unexpected"),
        (lambda j: j["spec"].pop("rayClusterSpec"), "'rayClusterSpec' is a required property"),
        (lambda j: cluster(j)["workerGroupSpecs"][0].pop("template"), "'template' is a required property"),
        (
            lambda j: cluster(j)["workerGroupSpecs"][0].update(maxReplicas="32"),
            "'32' is not of type 'integer'",
        ),
        (lambda j: cluster(j).update(rayVersion=2.6), "2.6 is not of type 'string'"),
        (lambda j: j["metadata"].update(name="CL_Forget"), "'CL_Forget' does not match"),
        (
            lambda j: cluster(j)["headGroupSpec"]["template"]["spec"]["containers"][0]["resources"][
                "limits"
            ].update(memory="16 GB"),
            "'16 GB' does not match",
        ),
        (lambda j: j.update(apiVersion="ray.io/v1alpha1"), "'ray.io/v1' was expected"),
    ],
)
def test_what_the_api_refuses_is_refused(damage: Any, said: str) -> None:
    broken = job()
    damage(broken)
    with pytest.raises(jsonschema.ValidationError, match=said):
        check(broken)


def test_groups_can_grow_and_workers_fit_their_trials() -> None:
    """What no schema says: bounds that agree, requests within limits, and room for the trials that are asked for."""
    spec = job()["spec"]
    (gpu,) = cluster(job())["workerGroupSpecs"]
    assert gpu["minReplicas"] <= gpu["replicas"] <= gpu["maxReplicas"]
    (container,) = gpu["template"]["spec"]["containers"]
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert (
        float(container["resources"]["limits"]["nvidia.com/gpu"]) >= 0.5
        and "--gpus-per-trial 0.5" in spec["entrypoint"]
    )
    assert "--resume" in spec["entrypoint"], "a job that is tried again goes on"
    assert cluster(job())["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0", (
        "the head outlives the trials"
    )
