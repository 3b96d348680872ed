"""EKS Pod Identity: associations, target roles and their external ids."""

from __future__ import annotations

from typing import Any, Final

from aws_probes.catalog.calls import ACCOUNT_ROOT, allow, create_role, document, name_of, role_arn
from aws_probes.model import ANY, Call, Need, Probe
from trustbind.policy.pod_identity import STATEMENT

__all__ = ["PROBES"]

_REFUSED: Final = "InvalidParameterException"


def _associate(label: str, service_account: str, role: str, assumes: str = "", **more: Any) -> Call:
    shows = more.pop("shows", {})
    parameters = {
        "clusterName": "@{cluster}",
        "namespace": name_of("team-a"),
        "serviceAccount": service_account,
        "roleArn": role_arn(role),
        **more,
    }
    return Call(
        label, "eks:CreatePodIdentityAssociation", parameters, assumes=assumes, shows=shows, settles=not assumes
    )


_POLICY: Final = document({"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "*"})

PROBES: Final = (
    Probe(
        "pod-identity-association",
        "EKS takes a role that trusts pods.eks.amazonaws.com, one association for each service account, a session "
        "policy only without session tags, and makes an external id where there is a target role. Source: EKS API "
        "reference, CreatePodIdentityAssociation",
        (
            create_role("pods", document(dict(STATEMENT))),
            create_role("other", document(allow({"AWS": ACCOUNT_ROOT}))),
            _associate(
                "create",
                "reader",
                "pods",
                shows={"association.externalId.?": False, "association.roleArn": role_arn("pods")},
            ),
            _associate("a second one", "reader", "pods", "ResourceInUseException"),
            _associate("a role that does not trust EKS", "writer", "other", _REFUSED),
            _associate("an absent role", "writer", "absent", _REFUSED),
            _associate("a policy with session tags", "writer", "pods", _REFUSED, policy=_POLICY),
            _associate(
                "a policy without session tags",
                "writer",
                "pods",
                policy=_POLICY,
                disableSessionTags=True,
                shows={"association.disableSessionTags": True, "association.policy.?": True},
            ),
            _associate(
                "a target role",
                "chained",
                "pods",
                targetRoleArn=role_arn("other"),
                shows={"association.externalId.?": True, "association.targetRoleArn": role_arn("other")},
            ),
            Call(
                "read it again",
                "eks:DescribePodIdentityAssociation",
                {"clusterName": "@{cluster}", "associationId": "@{a target role.association.associationId}"},
                shows={"association.externalId.?": True},
            ),
            Call(
                "another target role",
                "eks:UpdatePodIdentityAssociation",
                {
                    "clusterName": "@{cluster}",
                    "associationId": "@{a target role.association.associationId}",
                    "targetRoleArn": role_arn("pods"),
                },
                assumes=ANY,
                shows={"association.externalId.?": ANY},
            ),
        ),
        frozenset({Need.CLUSTER}),
    ),
)
