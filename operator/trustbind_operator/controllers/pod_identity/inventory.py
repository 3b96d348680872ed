"""A cluster's associations by namespace: each worked on by one role at a time, and searched for what is ours.

Bindings' statuses name accounts, though not all of them, and may never have been written; a list of EKS names them all,
though neither roles nor tags. So what is ours is described one by one, and only where it has to be known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TypeVar

from trustbind.api.aws_account import AwsAccount, EksCluster
from trustbind.errors import AwsError, UnreachableError
from trustbind.identity.subjects import Subject
from trustbind.policy.pod_identity_association import Association, is_ours
from trustbind_aws.eks import AssociationStore
from trustbind_operator.controllers.context import Context

__all__ = ["AssociationSurvey"]

T = TypeVar("T")


class AssociationSurvey:
    """See the module.

    Args:
        context: the world around.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}
        """By account id and namespace."""
        self._surveyed: dict[str, tuple[EksCluster, set[str]]] = {}
        """By account id, the cluster and its namespaces that were surveyed."""
        self._strangers: dict[str, frozenset[str]] = {}
        """Ids of associations that were seen not to be ours, by account id; a search need not ask again."""

    def store(self, account: AwsAccount, cluster: EksCluster) -> AssociationStore:
        """Return the way to the cluster's associations; to be called in a thread.

        Raises:
            AwsError: the account cannot be entered.
        """
        return self._context.open_cluster(self._context.accounts.enter(account), cluster)

    async def in_each(
        self, account: AwsAccount, namespaces: Iterable[str], work: Callable[[str], T]
    ) -> tuple[dict[str, T], dict[str, AwsError]]:
        """Do blocking work on each namespace, and return what came of it, and what failed.

        What fails in one must not keep what has to go in another. Nobody else works on a namespace meanwhile, and who
        waits for it holds no thread of the account.
        """
        done: dict[str, T] = {}
        errors: dict[str, AwsError] = {}
        unreachable: AwsError | None = None
        for namespace in sorted(namespaces):
            if unreachable is not None:  # each call would take its whole time to fail in the same way
                errors[namespace] = unreachable
                continue
            try:
                async with self._locks.setdefault((account.account_id, namespace), asyncio.Lock()):
                    done[namespace] = await self._context.accounts.within(account.account_id, partial(work, namespace))
            except AwsError as error:
                errors[namespace] = error
                unreachable = error if isinstance(error, UnreachableError) else None
        return done, errors

    async def survey(
        self, account: AwsAccount, cluster: EksCluster, namespaces: Iterable[str]
    ) -> tuple[list[Association], Mapping[str, AwsError]]:
        """Return every association of ours in those namespaces that were not surveyed before, and what failed where.

        Once is enough: whoever asks knows what is made from then on.
        """
        before, surveyed = self._surveyed.get(account.account_id, (cluster, set[str]()))
        if before != cluster:
            surveyed = set()
        self._surveyed[account.account_id] = cluster, surveyed
        found, errors = await self.in_each(
            account, set(namespaces) - surveyed, lambda namespace: self._search(account, cluster, (), namespace)
        )
        surveyed.update(found)
        return [association for each in found.values() for association in each], errors

    def forget(self, account_id: str) -> None:
        """Let the account's namespaces count as not surveyed."""
        self._surveyed.pop(account_id, None)

    async def unwanted(
        self, account: AwsAccount, cluster: EksCluster, wanted: Collection[Subject]
    ) -> list[Association]:
        """Return every association of ours whose account is not wanted.

        Raises:
            AwsError: the cluster's associations cannot be listed.
        """
        return await self._context.accounts.within(account.account_id, lambda: self._search(account, cluster, wanted))

    def _search(
        self, account: AwsAccount, cluster: EksCluster, wanted: Collection[Subject], namespace: str = ""
    ) -> list[Association]:
        store = self.store(account, cluster)
        listed = store.listed(namespace)
        strangers = set(self._strangers.get(account.account_id, ()))
        if not namespace:
            strangers &= {each.id for each in listed}
        found: list[Association] = []
        for each in listed:
            if each.subject in wanted or each.id in strangers:
                continue
            association = store.described(each)
            if association is None:
                continue
            if is_ours(association, self._context.issuer):
                found.append(association)
            else:
                strangers.add(each.id)
        self._strangers[account.account_id] = frozenset(strangers)
        return found
