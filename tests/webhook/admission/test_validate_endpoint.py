"""``/validate`` of the webhook as a process, over TLS, with manifests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support import webhooks
from support.certs import Authority

ROLE = "arn:aws:iam::444455556666:role/shop/checkout"
POD = (Path(__file__).parents[2] / "data/reviews/deployment-pod-with-sidecar.json").read_bytes()
OBJECT: dict[str, Any] = {
    "uid": "u",
    "resource": {"group": "trustbind.dev", "version": "v1alpha1", "resource": "rolebindings"},
    "namespace": "shop",
    "operation": "CREATE",
    "object": {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": "RoleBinding",
        "metadata": {"name": "b", "namespace": "shop"},
        "spec": {"roleArn": ROLE, "serviceAccountNames": ["checkout"]},
    },
}


def object_review(**request: Any) -> bytes:
    """Return a review of an object of ours."""
    body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": OBJECT | request}
    return json.dumps(body).encode()


MANIFESTS = """\
apiVersion: v1
kind: ServiceAccount
metadata: {name: checkout, namespace: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: shop}}
---
apiVersion: trustbind.dev/v1alpha1
kind: AWSAccount
metadata: {name: production}
spec: {accountId: "444455556666"}
---
apiVersion: trustbind.dev/v1alpha1
kind: RoleGrant
metadata: {name: shop}
spec:
  namespaces: {selector: {matchLabels: {team: shop, kubernetes.io/metadata.name: shop}}}
  roleArns: ["arn:aws:iam::444455556666:role/shop/*"]
"""


def test_validation_from_manifests(tmp_path: Path) -> None:
    """Grants, accounts and namespaces are read from manifests as well; metrics count what came of it."""
    authority = Authority()
    (tmp_path / "manifests.yaml").write_text(MANIFESTS)
    lookup = {"source": "files", "manifests": [str(tmp_path / "manifests.yaml")]}
    with webhooks.running(tmp_path, authority, authority.issue(), lookup=lookup) as webhook:

        def response(body: bytes) -> Any:
            status, answer = webhook.call(body, path="/validate")
            assert status == 200
            return answer["response"]

        assert response(object_review()) == {"uid": "u", "allowed": True}
        other = OBJECT["object"] | {"spec": {"roleArn": ROLE, "serviceAccountNames": ["nobody"], "region": "here"}}
        denied = response(object_review(object=other))
        assert (denied["allowed"], denied["status"]["code"]) == (False, 422)
        assert denied["status"]["message"].startswith("spec.region: 'here' is not a region")
        other["spec"].pop("region")
        warned = response(object_review(object=other))
        assert warned["warnings"] == ["trustbind: spec.serviceAccountNames: not in namespace shop yet: nobody"]
        grant = {"namespaces": {"names": ["shp"]}, "roleArns": ["arn:aws:iam::444455556666:role/shop/*"]}
        resource = OBJECT["resource"] | {"resource": "rolegrants"}
        whole = OBJECT["object"] | {"kind": "RoleGrant", "metadata": {"name": "g"}, "spec": grant}
        warned = response(object_review(resource=resource, namespace="", object=whole))
        assert warned["warnings"] == ["trustbind: spec.namespaces.names: no such namespace yet: shp"]
        assert response(object_review(operation="DELETE", object=None)) == {"uid": "u", "allowed": True}
        assert response(POD)["allowed"] is True
        metrics = webhook.metrics()
        for kind, outcome, count in (
            ("RoleBinding", "allowed", 2),
            ("RoleBinding", "denied", 1),
            ("RoleBinding", "warned", 1),
            ("RoleGrant", "warned", 1),
            ("other", "allowed", 1),
        ):
            line = f'trustbind_webhook_validations_total{{kind="{kind}",outcome="{outcome}"}} {count}.0'
            assert line in metrics
        assert "trustbind_webhook_validation_duration_seconds_count 6.0" in metrics
        assert "trustbind_webhook_admission_duration_seconds_count 0.0" in metrics
