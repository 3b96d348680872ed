"""Every probe. A new one is a value in the module of its subject."""

from __future__ import annotations

from typing import Final

from aws_probes.catalog import (
    context_keys,
    pod_identity,
    providers,
    roles,
    rule_documents,
    sessions,
    trust_policies,
    web_identity,
)
from aws_probes.model import Probe

__all__ = ["PROBES"]

PROBES: Final[tuple[Probe, ...]] = (
    *rule_documents.probes(),
    *trust_policies.PROBES,
    *roles.PROBES,
    *providers.PROBES,
    *sessions.PROBES,
    *context_keys.PROBES,
    *web_identity.PROBES,
    *pod_identity.PROBES,
)
