"""What is swept in each role, read from AWS or from files. Nothing is written here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from trustbind.errors import AwsError, InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.policy.owned_statement import is_owned
from trustbind.policy.pod_identity_association import Association
from trustbind.policy.sweep import other_owners, targets_wanted
from trustbind.policy.trust_document import TrustDocument
from trustbind_aws.account_pool import AccountPool
from trustbind_aws.client import NO_PERMISSION
from trustbind_aws.eks import EksAssociations
from trustbind_aws.resources import pod_identity_association, source_policy
from trustbind_cli.commands.import_.exports import ExportedRole
from trustbind_cli.commands.sweep.found import AssociationSweep, Found, RoleSweep
from trustbind_cli.commands.sweep.wanted import Wanted

__all__ = ["Sweeping"]

_NOT_ASKED: Final = (
    "permissions of source roles and EKS Pod Identity associations, since AWS is not asked "
    "where trust policies are files"
)


class Sweeping:
    """The plan of one run of the command. For one event loop.

    Args:
        wanted: see `Wanted`.
        pool: the caller's way into AWS.
        retained: whether what deleted bindings left is swept, too.
    """

    def __init__(self, wanted: Wanted, pool: AccountPool, *, retained: bool) -> None:
        self._wanted = wanted
        self._pool = pool
        self._retained = retained

    async def prepare(self, roles: Iterable[ExportedRole], *, asks_aws: bool) -> Found:
        """Return what there is to sweep.

        Args:
            roles: with their trust policies.
            asks_aws: whether inline policies and associations are read in AWS.
        """
        found = Found()
        is_concerned = False
        for exported in roles:
            found.read += 1
            try:
                role = RoleArn.parse(exported.arn)
                document = TrustDocument.parse(exported.policy, stored=True)
            except InvalidValueError as error:
                found.unseen.append(f"{exported.source}: {exported.arn}: {error}")
                continue
            if not self._wanted.is_gone:
                found.others |= other_owners(document, self._wanted.issuer)
            if not any(is_owned(s, self._wanted.issuer) for s in document.statements):
                continue
            is_concerned = True
            if (unknown := self._wanted.unknown.get(role)) is not None:
                found.unseen.append(f"{role}: {unknown}")
                continue
            trust = self._wanted.swept(role, document, retained=self._retained)
            if unsure := self._wanted.unsure(role, trust.swept):
                found.unseen.append(f"{role}: {unsure}")
                continue
            each = RoleSweep(role, self._wanted.account(role), document, trust)
            if asks_aws:
                each = await self._with_targets(each)
            if each.is_due or each.problem or each.trust.notes or each.trust.retained or each.refusal:
                found.roles.append(each)
        if asks_aws and not self._wanted.is_gone:
            await self._associations(found)
        if is_concerned and not asks_aws:
            found.unseen.append(_NOT_ASKED)
        found.roles.sort(key=lambda each: (_is_far_end(each), each.role))
        return found

    async def _with_targets(self, each: RoleSweep) -> RoleSweep:
        """Return the role with what its inline policy allows in vain.

        A caller that may not read the policy cannot have written it, as in the pipeline of a role.
        """
        try:
            entered = await self._pool.enter(each.aws_account)
            there = await source_policy.read_targets(entered, each.role, self._wanted.issuer)
        except AwsError as error:
            return each if error.code in NO_PERMISSION else replace(each, problem=error)
        wanted = targets_wanted(each.role, (binding for binding, _ in self._wanted.bindings))
        return replace(each, targets=(there or frozenset()) - wanted)

    async def _associations(self, found: Found) -> None:
        for account in self._wanted.aws_accounts.values():
            if account.eks is None:
                continue
            try:
                store = EksAssociations((await self._pool.enter(account)).api, account.eks)
                there = await pod_identity_association.search(store, self._wanted.issuer)
            except AwsError as error:
                found.unseen.append(f"the associations of EKS cluster {account.eks.name}: {error}")
                continue
            unwanted = [each for each in there.ours if each.subject not in self._wanted.associated]
            unsure = [each for each in unwanted if each.subject.namespace in self._wanted.selecting]
            found.associations += [AssociationSweep(account, each) for each in unwanted if each not in unsure]
            found.unseen += self._skipped(account.eks.name, unsure)

    def _skipped(self, cluster: str, unsure: Iterable[Association]) -> Iterator[str]:
        """Yield a sentence for each namespace whose associations may be wanted."""
        names: dict[str, list[str]] = {}
        for each in unsure:
            names.setdefault(each.subject.namespace, []).append(each.subject.name)
        for namespace, listed in sorted(names.items()):
            yield (
                f"whether the associations of {', '.join(sorted(listed))} in EKS cluster {cluster} are wanted: "
                f"RoleBinding {self._wanted.selecting[namespace]} selects service accounts, and files need not have "
                "all of them, so they are skipped; name the service accounts in the binding, or run sweep on the live "
                "cluster"
            )


def _is_far_end(each: RoleSweep) -> bool:
    """Return whether other roles come to this one: a chain is revoked from its near end."""
    return any(name.startswith("arn:") for swept in each.trust.swept for name in swept.names)
