"""What KubeRay's operator accepts, as JSON schemas: the fields of its API `ray.io/v1` and those of pods that we use.

Written after `ray-operator/apis/ray/v1/rayjob_types.go` and `raycluster_types.go` of ray-project/kuberay, and the
Kubernetes API reference for `core/v1`. A field that is not listed is refused, as `kubectl apply --dry-run=client
--validate=strict` refuses it, so a new field of the manifest is looked up before it is listed here.
"""

from __future__ import annotations

from typing import Any

TEXT: dict[str, Any] = {"type": "string"}
FLAG: dict[str, Any] = {"type": "boolean"}
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
NAME: dict[str, Any] = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
TEXTS: dict[str, Any] = {"type": "object", "additionalProperties": TEXT}
QUANTITY: dict[str, Any] = {"type": "string", "pattern": r"^\d+(\.\d+)?(m|[kMGTPE]i?)?$"}
QUANTITIES: dict[str, Any] = {"type": "object", "additionalProperties": QUANTITY, "minProperties": 1}


def thing(required: str = "", **fields: Any) -> dict[str, Any]:
    """An object with these fields and no other; the names of the required ones are separated by blanks."""
    return {
        "type": "object",
        "properties": fields,
        "required": required.split(),
        "additionalProperties": False,
    }


def listed(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1}


RESOURCES = thing(limits=QUANTITIES, requests=QUANTITIES)
METADATA = thing("name", name=NAME, namespace=NAME, labels=TEXTS, annotations=TEXTS)

CONTAINER = thing(
    "name image",
    name=NAME,
    image=TEXT,
    imagePullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
    command=listed(TEXT),
    args=listed(TEXT),
    env=listed(thing("name", name=TEXT, value=TEXT, valueFrom={"type": "object"})),
    resources=RESOURCES,
    ports=listed(
        thing(
            "containerPort",
            containerPort={**COUNT, "minimum": 1, "maximum": 65535},
            name={**NAME, "maxLength": 15},
        )
    ),
    volumeMounts=listed(thing("name mountPath", name=NAME, mountPath=TEXT, readOnly=FLAG, subPath=TEXT)),
    lifecycle={"type": "object"},
)

VOLUME = {
    **thing(
        "name",
        name=NAME,
        persistentVolumeClaim=thing("claimName", claimName=NAME, readOnly=FLAG),
        emptyDir=thing(medium=TEXT, sizeLimit=QUANTITY),
    ),
    "maxProperties": 2,
}

POD = thing(
    "spec",
    metadata=thing(labels=TEXTS, annotations=TEXTS),
    spec=thing(
        "containers",
        containers=listed(CONTAINER),
        initContainers=listed(CONTAINER),
        volumes=listed(VOLUME),
        nodeSelector=TEXTS,
        tolerations=listed(thing(key=TEXT, operator={"enum": ["Exists", "Equal"]}, value=TEXT, effect=TEXT)),
        serviceAccountName=NAME,
        terminationGracePeriodSeconds=COUNT,
        restartPolicy={"enum": ["Always", "OnFailure", "Never"]},
    ),
)

RAY_CLUSTER = thing(
    "headGroupSpec",
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=thing(
        resources=RESOURCES,
        idleTimeoutSeconds=COUNT,
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    ),
    headGroupSpec=thing(
        "rayStartParams template",
        serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
        rayStartParams=TEXTS,
        template=POD,
    ),
    workerGroupSpecs=listed(
        thing(
            "groupName minReplicas maxReplicas rayStartParams template",
            groupName=NAME,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            numOfHosts={**COUNT, "minimum": 1},
            rayStartParams=TEXTS,
            template=POD,
        )
    ),
)

RAY_JOB = thing(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=METADATA,
    spec=thing(
        "entrypoint rayClusterSpec",
        entrypoint=TEXT,
        runtimeEnvYAML=TEXT,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
        shutdownAfterJobFinishes=FLAG,
        ttlSecondsAfterFinished=COUNT,
        activeDeadlineSeconds={**COUNT, "minimum": 1},
        backoffLimit=COUNT,
        suspend=FLAG,
        submitterPodTemplate=POD,
        entrypointNumCpus={"type": "number", "minimum": 0},
        rayClusterSpec=RAY_CLUSTER,
    ),
)

CLAIM = thing(
    "apiVersion kind metadata spec",
    apiVersion={"const": "v1"},
    kind={"const": "PersistentVolumeClaim"},
    metadata=METADATA,
    spec=thing(
        "accessModes resources",
        accessModes=listed({"enum": ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"]}),
        resources=thing("requests", requests=QUANTITIES),
        storageClassName=TEXT,
        volumeName=TEXT,
        volumeMode={"enum": ["Filesystem", "Block"]},
    ),
)

SCHEMAS = {"RayJob": RAY_JOB, "PersistentVolumeClaim": CLAIM}
