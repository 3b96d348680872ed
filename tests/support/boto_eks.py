"""boto3's client of EKS over associations in memory, with the external ids that EKS makes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from trustbind.errors import AwsError, NotFoundError

__all__ = ["BotoEks"]

Json = dict[str, Any]


class BotoEks:
    """The methods that are called; each takes effect at once.

    Attributes:
        there: whole associations by namespace and service account.
    """

    def __init__(self) -> None:
        self.there: dict[tuple[str, str], Json] = {}
        self._numbers = itertools.count(1)

    def list_pod_identity_associations(self, *, namespace: str = "", **_: Any) -> Json:
        """List; what a list does not show is not used."""
        return {"associations": [dict(a) for a in self.there.values() if namespace in {"", a["namespace"]}]}

    def describe_pod_identity_association(self, *, associationId: str, **_: Any) -> Json:  # noqa: N803 - as in boto3
        """Describe one."""
        return {"association": dict(self._found(associationId))}

    def create_pod_identity_association(
        self,
        *,
        namespace: str,
        serviceAccount: str,  # noqa: N803 - as in boto3
        **given: Any,
    ) -> Json:
        """Create one."""
        if (namespace, serviceAccount) in self.there:
            raise AwsError("in use", code="ResourceInUseException", operation="eks:CreatePodIdentityAssociation")
        number = next(self._numbers)
        made = {
            "associationId": f"a-{number}",
            "associationArn": f"arn:a-{number}",
            "namespace": namespace,
            "serviceAccount": serviceAccount,
            "tags": {},
            **given,
        }
        self.there[namespace, serviceAccount] = _with_external_id(made)
        return {"association": dict(made)}

    def update_pod_identity_association(self, *, associationId: str, **given: Any) -> Json:  # noqa: N803 - as in boto3
        """Change what is given."""
        found = self._found(associationId)
        found |= {key: value for key, value in given.items() if key != "clusterName"}
        return {"association": dict(_with_external_id(found))}

    def delete_pod_identity_association(self, *, associationId: str, **_: Any) -> Json:  # noqa: N803 - as in boto3
        """Delete one."""
        found = self._found(associationId)
        del self.there[found["namespace"], found["serviceAccount"]]
        return {"association": found}

    def tag_resource(self, *, resourceArn: str, tags: Mapping[str, str]) -> Json:  # noqa: N803 - as in boto3
        """Add tags."""
        found = self._found(resourceArn.removeprefix("arn:"))
        found["tags"] = {**found["tags"], **tags}
        return {}

    def untag_resource(self, *, resourceArn: str, tagKeys: list[str]) -> Json:  # noqa: N803 - as in boto3
        """Take tags away."""
        found = self._found(resourceArn.removeprefix("arn:"))
        found["tags"] = {key: value for key, value in found["tags"].items() if key not in tagKeys}
        return {}

    def _found(self, association_id: str) -> Json:
        for association in self.there.values():
            if association["associationId"] == association_id:
                return association
        raise NotFoundError("no such association", code="ResourceNotFoundException", operation="eks:Describe")


def _with_external_id(association: Json) -> Json:
    if association.get("targetRoleArn"):
        association.setdefault("externalId", f"external-{association['associationId']}")
    return association
