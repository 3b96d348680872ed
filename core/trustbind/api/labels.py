"""Labels, annotations, finalizers and the scheduling gate under ``trustbind.dev/``.

The webhook, the operator and the command line import them from here. Tags of AWS resources are with the rules about
them: ``grants.CONSENT_TAG``, ``pod_identity.OWNER_TAG`` and ``pod_identity.BINDING_TAG``.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ACCOUNT_FINALIZER",
    "BINDING_FINALIZER",
    "CONFIG_ANNOTATION",
    "GATE",
    "INJECT",
    "MANAGED_LABEL",
    "PREFIX",
    "RECONCILE_REQUESTED_AT",
    "REQUIRE",
    "REVOCATION_ALLOWED_AT",
    "SESSION_NAME",
    "SET_LABEL",
    "WAITING_LABEL",
]

PREFIX: Final = "trustbind.dev/"
"""All of them begin with it."""

INJECT: Final = "trustbind.dev/inject"
"""Annotation of a Pod or a ServiceAccount, and label of a Namespace: with ``"false"``, the webhook does not inject."""

CONFIG_ANNOTATION: Final = "trustbind.dev/aws-config"
"""Annotation of a Pod: the text of its AWS config file, which a volume projects (downward API)."""

GATE: Final = "trustbind.dev/trust"
"""Scheduling gate of a Pod that waits for its RoleBindings (Kubernetes documentation, "Pod Scheduling Readiness").

The webhook adds it; the operator removes it.
"""

REQUIRE: Final = "trustbind.dev/require"
"""Annotation of a Pod or a Namespace: with ``"true"``, a pod without a token is refused.

The API server reads it, by a ValidatingAdmissionPolicy of the chart; none of our processes does.
"""

SESSION_NAME: Final = "trustbind.dev/session-name"
"""Annotation of a Pod or a ServiceAccount: with ``"false"``, the webhook gives no role session name."""

WAITING_LABEL: Final = "trustbind.dev/waiting"
"""Label of a Pod with `GATE`, so that the operator watches only such Pods."""

MANAGED_LABEL: Final = "trustbind.dev/from-annotation"
"""Label of a RoleBinding that the operator created from a ServiceAccount's annotation.

The operator changes no RoleBinding of the same name without the label.
"""

SET_LABEL: Final = "trustbind.dev/set"
"""Label of a RoleBinding that the operator created for a RoleBindingSet: the name of the set.

The operator changes no RoleBinding of the same name without the label.
"""

RECONCILE_REQUESTED_AT: Final = "trustbind.dev/reconcile-requested-at"
"""Annotation of a RoleBinding or an AWSAccount: a change of its value asks for a reconcile now.

The value is any text; by convention the time of the request in RFC 3339.
"""

REVOCATION_ALLOWED_AT: Final = "trustbind.dev/revocation-allowed-at"
"""Annotation of an AWSAccount: a change of its value allows what the brake on mass revocation holds back there now.

The value is any text; by convention the time in RFC 3339.
"""

BINDING_FINALIZER: Final = "trustbind.dev/trust"
"""Finalizer of a RoleBinding: keeps it until its trust is revoked."""

ACCOUNT_FINALIZER: Final = "trustbind.dev/account"
"""Finalizer of an AWSAccount: keeps it until no RoleBinding needs it for revoking trust."""
