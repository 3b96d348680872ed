"""Where a sweep takes from what is wanted: from files, from the live cluster, or that nothing is."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from trustbind.api.federated_subjects import is_one_issuer
from trustbind.errors import InvalidValueError, ManifestError, TrustbindError
from trustbind.identity.subjects import Issuer
from trustbind.policy.owned_statement import owner_prefix
from trustbind_cli.cluster_access import ClusterAccess
from trustbind_cli.cluster_objects import ClusterObjects, read_aws_accounts, read_cluster, read_owners
from trustbind_cli.commands.sweep.wanted import Wanted
from trustbind_cli.files.manifests import Objects
from trustbind_runtime.kubernetes.client import ApiError, ApiServer, NoClusterError
from trustbind_runtime.kubernetes.discovery import read_issuer

__all__ = ["NotSeenError", "wanted_by"]

_OTHER_CONTEXT: Final = "or name the context of another cluster with --context"


class NotSeenError(TrustbindError):
    """Not enough could be seen to tell what is wanted."""


async def wanted_by(issuer: Issuer | None, objects: Objects | None, cluster: ClusterAccess, *, is_gone: bool) -> Wanted:
    """Return what is wanted.

    Args:
        issuer: whose statements are swept; None: the live cluster's.
        objects: of the files; None: there are none.
        cluster: the way to the live cluster.
        is_gone: whether the cluster of ``issuer`` is gone.

    Raises:
        InvalidValueError: files do not say whose statements are meant, the issuer is not that of the live cluster, or
            the cluster that is said to be gone is there.
        NotSeenError: it is not known what the live cluster wants, or whether a cluster is gone.
        NoClusterError: there is no live cluster.
        ApiError: it refuses, or does not answer.
    """
    if is_gone and issuer is not None:
        return await _gone(issuer, objects, cluster)
    if objects is None:
        return await _live(issuer, cluster)
    if issuer is None:
        raise InvalidValueError("files do not say whose statements are meant; add --issuer", field="-f")
    return Wanted.of_files(objects, issuer)


async def _live(issuer: Issuer | None, cluster: ClusterAccess) -> Wanted:
    """Return what the live cluster wants."""
    api = await cluster.connect()
    try:
        live = await read_cluster(api)
    finally:
        await api.close()
    if live.broken:
        raise NotSeenError(f"what the cluster at {_address(api)} wants: {live.broken[0]}; correct that object")
    if live.absent:
        raise NotSeenError(
            f"what the cluster at {_address(api)} wants: the custom resources are not served, {', '.join(live.absent)} "
            f"is missing; install trustbind's CRDs, {_OTHER_CONTEXT}, or say with -f what is wanted"
        )
    return Wanted.of_cluster(live.objects, _issuer(live, issuer))


def _issuer(live: ClusterObjects, named: Issuer | None) -> Issuer:
    """Return the issuer for which the operator of a cluster writes.

    Its setting ``issuer`` may say another one than the API server publishes. The statements that the statuses of
    RoleBindings name tell which.

    Raises:
        InvalidValueError: another one is named than that of the cluster.
        NotSeenError: the operator writes for another one, too, or the published one is none for IAM.
    """
    if named is not None and named.url != live.published and owner_prefix(named) not in live.owners:
        raise InvalidValueError(
            f"the cluster of this context has the issuer {live.published}; add --cluster-gone if the cluster of "
            f"{named} is gone, or say with -f what it wants",
            field="--issuer",
        )
    try:
        issuer = named or live.issuer
    except InvalidValueError as error:
        raise NotSeenError(f"whose statements are the cluster's: {error}; name its issuer with --issuer") from None
    if others := sorted(live.owners - {owner_prefix(issuer)}):
        raise NotSeenError(
            f"whose statements are the cluster's: status.statementId of its RoleBindings begins with "
            f"{', '.join(others)}, and that of {issuer} with {owner_prefix(issuer)}; name the issuer in the operator's "
            "settings with --issuer, or wait until the operator has written all statements for one issuer"
        )
    return issuer


async def _gone(issuer: Issuer, objects: Objects | None, cluster: ClusterAccess) -> Wanted:
    """Return that nothing is wanted, having made sure that the cluster of the context is not the one that is gone."""
    try:
        api = await cluster.connect()
    except NoClusterError as error:
        if not error.is_absent:
            raise NotSeenError(
                f"whether the cluster of {issuer} is gone: {error}; correct the kubeconfig, {_OTHER_CONTEXT}"
            ) from None
        return _nothing(issuer, objects, error)
    try:
        return await _gone_beside(api, issuer, objects)
    except ApiError as error:
        if error.is_absent:
            return _nothing(issuer, objects, error)
        raise NotSeenError(
            f"whether the cluster of {issuer} is gone: the one at {_address(api)} may be it, and cannot be read: "
            f"{error}; let your user read its issuer (/.well-known/openid-configuration), RoleBindings and "
            f"AWSAccounts, {_OTHER_CONTEXT}"
        ) from None
    except ManifestError as error:
        raise NotSeenError(
            f"how AWS accounts are entered: {error}; correct that object, or give AWSAccounts with -f"
        ) from None
    finally:
        await api.close()


async def _gone_beside(api: ApiServer, issuer: Issuer, objects: Objects | None) -> Wanted:
    """Return the same where there is another cluster.

    Raises:
        InvalidValueError: it is the one that is said to be gone.
        ApiError: it refuses, or does not answer.
        ManifestError: an AWSAccount breaks a rule.
    """
    published = await read_issuer(api)
    is_published = is_one_issuer(Issuer(published), issuer)
    if is_published or owner_prefix(issuer) in (await read_owners(api) or ()):
        how = "has this issuer" if is_published else "has an operator that writes for this issuer"
        raise InvalidValueError(
            f"the cluster of this context, at {_address(api)}, {how}: {issuer}; it is there, so delete its bindings "
            "instead",
            field="--cluster-gone",
        )
    return Wanted.nothing(issuer, await read_aws_accounts(api) if objects is None else objects.aws_accounts)


def _nothing(issuer: Issuer, objects: Objects | None, why: TrustbindError) -> Wanted:
    if objects is not None:
        return Wanted.nothing(issuer, objects.aws_accounts)
    note = f"no cluster says how other AWS accounts are entered, so only your own is looked at: {why}"
    return Wanted.nothing(issuer, {}, note)


def _address(api: ApiServer) -> str:
    """Return the URL of the API server, without a user's name and password."""
    url = urlsplit(str(api.configuration.host))
    return url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()
