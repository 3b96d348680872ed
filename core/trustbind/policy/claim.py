"""What a binding asks of a role's trust policy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from trustbind.api.role_binding import BindingRef, RoleBinding
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind.policy.condition_keys import issuer_prefix
from trustbind.policy.owned_statement import (
    AssociationKey,
    ChainKey,
    FederatedKey,
    Named,
    PatternKey,
    StatementKey,
    WebIdentityKey,
)

__all__ = ["Claim", "claims_on"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What one binding wants in one role's trust policy.

    Claims are made once, from the decision on the binding, and name exactly the subjects that were granted. Do not make
    them again from a later list of service accounts: a new service account has no grant yet.

    Attributes:
        binding: who wants it.
        key: which statement it belongs into.
        subjects: whom it adds to that statement; empty for a chain.
        age: sorts claims oldest first; see `RoleBinding.age_key`.
    """

    binding: BindingRef
    key: StatementKey
    subjects: tuple[Named, ...] = ()
    age: tuple[bool, str, BindingRef] = field(default=(True, "", BindingRef("", "")))


def claims_on(
    role: RoleArn, binding: RoleBinding, subjects: Iterable[Subject], external_ids: Iterable[str] = ()
) -> tuple[Claim, ...]:
    """Return what ``binding`` claims in the trust policy of ``role``.

    The target role of a web-identity binding lets the subjects in, and those of other issuers that it names. With
    method AssumeRole the source role lets the subjects in, and the target role lets the source role in. With EKS Pod
    Identity a target role lets the associations of the source role in, by their external ids.

    Args:
        role: whose trust policy is meant.
        binding: the binding.
        subjects: the service accounts that it names or selects; see `RoleBinding.subjects`.
        external_ids: of the binding's EKS Pod Identity associations; where none is known, the claim names none.

    Returns:
        One claim for the accounts or the source role, and after it one for each other issuer and audience, with the
        binding's conditions on keys of AWS's own and with the entry's. None when
        the binding is about other roles, or names nobody, or uses EKS Pod Identity without a target role.
    """
    if binding.method.uses_pod_identity_association:
        if binding.source is None or role != binding.role:
            return ()
        key_of_ids = AssociationKey(binding.source.role)
        return (Claim(binding.ref, key_of_ids, tuple(sorted(external_ids)), binding.age_key),)
    claims: list[Claim] = []
    source = binding.source.role if binding.method.has_source_role and binding.source else None
    named = tuple(subjects)
    if role == (source or binding.role) and named:
        # Further conditions guard the way into the target role, which in a chain is the second step.
        conditions = () if source else binding.conditions  # on keys of the cluster's issuer, too
        if (pattern := binding.pattern) is not None and pattern.issuer is not None:
            patterns = pattern.subjects(subject.name for subject in named)
            key_of_patterns = PatternKey(pattern.issuer, binding.audience, conditions)
            claims.append(Claim(binding.ref, key_of_patterns, patterns, binding.age_key))
        else:
            key = WebIdentityKey(binding.audience, conditions)
            claims.append(Claim(binding.ref, key, named, binding.age_key))
    if role == binding.role:
        common = tuple(c for c in binding.conditions if not issuer_prefix(c.key))
        for entry in binding.federated:
            further = tuple(sorted((*common, *entry.conditions)))
            federated = FederatedKey(entry.issuer, entry.audience, further)
            claims.append(Claim(binding.ref, federated, entry.subjects, binding.age_key))
    if source and role == binding.role:
        chain = ChainKey(source, binding.external_id, binding.conditions, via_root=_is_via_root(binding))
        claims.append(Claim(binding.ref, chain, (), binding.age_key))
    return tuple(claims)


def _is_via_root(binding: RoleBinding) -> bool:
    return binding.source is not None and binding.source.via_root
