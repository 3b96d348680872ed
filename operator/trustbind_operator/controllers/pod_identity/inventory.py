"""What is known of a cluster's associations, and which namespace is worked on now.

Bindings' statuses name service accounts, though not all of them, and may never have been written. A list of EKS names
them all, but neither roles nor tags. So what is ours is described one by one, and only where it has to be known.

Everything here runs on the event loop, and every value of a dictionary is immutable and replaced as a whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import replace
from weakref import WeakValueDictionary

from trustbind.api.aws_account import AwsAccount, EksCluster
from trustbind.errors import AwsError, InvalidValueError, UnreachableError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.pod_identity_association import Association, Listed
from trustbind.reconcile.association_plan import AssociationWork, NamespaceResult, NamespaceWork, known_after
from trustbind_aws.account_pool import AccountPool
from trustbind_aws.client import AccountApi
from trustbind_aws.eks import AssociationStore
from trustbind_aws.permits import DecisionChangedError, NotLeadingError, WriteGuard
from trustbind_aws.resources.pod_identity_association import apply, search

__all__ = ["AssociationInventory", "OpenCluster"]

OpenCluster = Callable[[AccountApi, EksCluster], AssociationStore]
"""Returns access to a cluster's associations."""


class AssociationInventory:
    """See the module.

    Args:
        pool: the AWS accounts.
        issuer: the cluster's.
        open_cluster: see `OpenCluster`.
    """

    def __init__(self, pool: AccountPool, issuer: Issuer, open_cluster: OpenCluster) -> None:
        self._pool = pool
        self._issuer = issuer
        self._open_cluster = open_cluster
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        """By account id and namespace; a lock that no run holds or waits for is gone."""
        self._known: dict[RoleArn, frozenset[Subject]] = {}
        """Service accounts that have, or may have, an association of ours with the role."""
        self._searched: dict[str, tuple[EksCluster, frozenset[str]]] = {}
        """By account id, the cluster and its namespaces in which every association of ours is known."""
        self._listed: dict[str, Mapping[Subject, str]] = {}
        """By account id, the id of each service account's association at the last survey."""
        self._foreign: dict[str, frozenset[str]] = {}
        """By account id, ids of associations that were seen to be foreign; a search does not describe them again."""

    def known(self, role: RoleArn) -> frozenset[Subject]:
        """Return the service accounts that have, or may have, an association of ours with the role."""
        return self._known.get(role, frozenset())

    def forget(self, role: RoleArn) -> None:
        """Forget the role's associations, and which namespaces of its AWS account were searched."""
        self._known.pop(role, None)
        self._searched.pop(role.account_id, None)

    async def look(
        self, aws_account: AwsAccount, cluster: EksCluster, namespaces: Iterable[str]
    ) -> Mapping[str, AwsError]:
        """Make every association of ours in those namespaces known, and return where and why that failed.

        Once is enough: what is made from then on is known.
        """
        account_id = aws_account.account_id

        async def look_in(store: AssociationStore, here: NamespaceWork) -> NamespaceResult:
            if here.namespace not in self._searched_in(account_id, cluster):  # another run may have done it
                self._add(account_id, await self._search(account_id, store, here.namespace))
                self._searched[account_id] = cluster, self._searched_in(account_id, cluster) | {here.namespace}
            return NamespaceResult()

        searched = self._searched_in(account_id, cluster)
        self._searched[account_id] = cluster, searched  # what was seen in another cluster counts no more
        unknown = set(namespaces) - searched
        works = [NamespaceWork(namespace, frozenset()) for namespace in unknown]
        results = await self._in_each(aws_account, cluster, works, look_in)
        return {namespace: result.error for namespace, result in results.items() if result.error is not None}

    async def reconcile(
        self,
        work: AssociationWork,
        unseen: Mapping[str, AwsError],
        guard: WriteGuard,
        is_claimed: Callable[[Subject], bool],
    ) -> Mapping[str, NamespaceResult]:
        """Work on every namespace, and remember what is there then.

        Args:
            work: of the run.
            unseen: namespaces that `look` failed for; nothing is written there.
            guard: asked right before each write.
            is_claimed: see `trustbind_aws.resources.pod_identity_association.apply`.

        Raises:
            NotLeadingError: nothing may be written.
            DecisionChangedError: what was decided does not hold any more.
        """

        async def apply_in(store: AssociationStore, here: NamespaceWork) -> NamespaceResult:
            return await apply(store, work, here, guard, is_claimed)

        known = self.known(work.role)  # what a run may write is known before it does
        self._remember(work.role, known.union(*(here.wanted for here in work.namespaces.values())))
        works = [here for here in work.namespaces.values() if here.namespace not in unseen]
        results = await self._in_each(work.aws_account, work.cluster, works, apply_in)
        for namespace, error in unseen.items():
            here = work.namespaces.get(namespace, NamespaceWork(namespace, frozenset()))
            results[namespace] = NamespaceResult(undone=here.concerned, error=error, is_unseen=True)
        self._remember(work.role, known_after(self.known(work.role), work, results))
        return results

    async def survey(
        self, aws_account: AwsAccount, cluster: EksCluster, wanted: Mapping[Subject, RoleArn]
    ) -> frozenset[RoleArn]:
        """Return the roles whose associations may differ from what is wanted, and make those known that must go.

        A list shows neither role nor tags. Found are an association of ours that no binding wants, one that is missing,
        and one that another writer made in place of the one before.

        Raises:
            AwsError: a call failed.
        """
        entered = await self._pool.enter(aws_account)
        store = self._open_cluster(entered.api, cluster)
        account_id = aws_account.account_id
        before = self._listed.get(account_id, {})
        orphans = self._add(account_id, await self._search(account_id, store, wanted=wanted))
        now = self._listed.get(account_id, {})
        return orphans | {
            role
            for subject, role in wanted.items()
            if subject not in now or before.get(subject, now[subject]) != now[subject]
        }

    async def _in_each(
        self,
        aws_account: AwsAccount,
        cluster: EksCluster,
        works: Iterable[NamespaceWork],
        work_in: Callable[[AssociationStore, NamespaceWork], Awaitable[NamespaceResult]],
    ) -> dict[str, NamespaceResult]:
        """Work on each namespace while no other run does, and return the results.

        An error in one namespace stops no other, so that what is revoked there goes. Where there is no answer, the
        other namespaces are not tried: each call would wait its whole time.
        """
        results: dict[str, NamespaceResult] = {}
        unreachable: AwsError | None = None
        for here in sorted(works, key=lambda each: each.namespace):
            result = NamespaceResult(undone=here.concerned, error=unreachable)
            if unreachable is None:
                try:
                    async with self._locks.setdefault((aws_account.account_id, here.namespace), asyncio.Lock()):
                        entered = await self._pool.enter(aws_account)
                        result = await work_in(self._open_cluster(entered.api, cluster), here)
                except (NotLeadingError, DecisionChangedError):
                    raise
                except AwsError as error:
                    result = replace(result, error=error)
            results[here.namespace] = result
            unreachable = result.error if isinstance(result.error, UnreachableError) else None
        return results

    async def _search(
        self, account_id: str, store: AssociationStore, namespace: str = "", wanted: Collection[Subject] = ()
    ) -> tuple[Association, ...]:
        def skips(each: Listed) -> bool:
            return each.subject in wanted or each.id in self._foreign.get(account_id, ())

        found = await search(store, self._issuer, namespace, skips=skips)
        foreign = self._foreign.get(account_id, frozenset())
        if namespace:
            self._foreign[account_id] = foreign | found.foreign
        else:
            self._foreign[account_id] = foreign.intersection(found.listed.values()) | found.foreign
            self._listed[account_id] = found.listed
        return found.ours

    def _searched_in(self, account_id: str, cluster: EksCluster) -> frozenset[str]:
        searched = self._searched.get(account_id)
        return searched[1] if searched is not None and searched[0] == cluster else frozenset()

    def _add(self, account_id: str, associations: Iterable[Association]) -> frozenset[RoleArn]:
        """Remember associations of ours; return their roles."""
        roles: set[RoleArn] = set()
        for association in associations:
            try:
                role = RoleArn.parse(association.role)
            except InvalidValueError:
                continue
            if role.account_id == account_id:
                roles.add(role)
                self._remember(role, self.known(role) | {association.subject})
        return frozenset(roles)

    def _remember(self, role: RoleArn, subjects: frozenset[Subject]) -> None:
        if subjects:
            self._known[role] = subjects
        else:
            self._known.pop(role, None)
