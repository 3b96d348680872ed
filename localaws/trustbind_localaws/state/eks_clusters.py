"""EKS clusters, which are only names, and the associations of EKS Pod Identity in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

__all__ = ["Association", "Clusters", "Place"]

Place = tuple[str, str, str]
"""Account, region and name of a cluster."""


@dataclass(slots=True)
class Association:
    """One association as it is stored.

    Attributes:
        place: the cluster.
        target: the role that pods go on to from ``role``; empty: none.
        external_id: what EKS sends when it assumes the target; empty without one.
        disable_session_tags: whether EKS adds no session tags.
        policy: narrows the session of the role that pods end up with; empty: none.
        request_token: of the request that created it; the same request sent again changes nothing.
    """

    place: Place
    id: str
    arn: str
    namespace: str
    service_account: str
    role: str
    request_token: str
    created: datetime
    modified: datetime
    tags: dict[str, str] = field(default_factory=dict)
    target: str = ""
    external_id: str = ""
    disable_session_tags: bool = False
    policy: str = ""

    def summary(self) -> dict[str, Any]:
        """Return what a list shows."""
        return {
            "clusterName": self.place[2],
            "namespace": self.namespace,
            "serviceAccount": self.service_account,
            "associationArn": self.arn,
            "associationId": self.id,
        }

    def whole(self) -> dict[str, Any]:
        """Return what every other call shows."""
        return {
            **self.summary(),
            "roleArn": self.role,
            "tags": dict(self.tags),
            "createdAt": self.created.timestamp(),
            "modifiedAt": self.modified.timestamp(),
            "disableSessionTags": self.disable_session_tags,
            **({"targetRoleArn": self.target, "externalId": self.external_id} if self.target else {}),
            **({"policy": self.policy} if self.policy else {}),
        }


@dataclass(slots=True)
class Clusters:
    """Everything that EKS has.

    Attributes:
        places: the clusters that somebody said are there.
        associations: by ARN.
    """

    places: set[Place] = field(default_factory=set)
    associations: dict[str, Association] = field(default_factory=dict)
