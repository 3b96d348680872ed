"""What trust policies give to one cluster, as if they gave it to another one."""

from __future__ import annotations

from dataclasses import replace

from trustbind.api.extra_conditions import ExtraCondition
from trustbind.identity.subjects import Issuer
from trustbind.migration.trust_reader import ReadRole

__all__ = ["moved"]


def moved(read: ReadRole, old: Issuer, new: Issuer) -> ReadRole:
    """Return what a trust policy gives to the cluster of ``old``, said of the cluster of ``new``.

    Names of namespaces and service accounts stay; condition keys of the old issuer become the new one's.
    """

    def renamed(conditions: tuple[ExtraCondition, ...]) -> tuple[ExtraCondition, ...]:
        return tuple(sorted(replace(c, key=_key(c.key, old, new)) for c in conditions))

    return replace(
        read,
        admissions=[replace(each, conditions=renamed(each.conditions)) for each in read.admissions],
        patterns=[replace(each, conditions=renamed(each.conditions)) for each in read.patterns],
    )


def _key(key: str, old: Issuer, new: Issuer) -> str:
    host, colon, claim = key.rpartition(":")
    return f"{new.host_path}{colon}{claim}" if host.casefold() == old.host_path.casefold() else key
