"""Where a sweep takes from what is wanted: from files, from the live cluster, or that nothing is."""

from __future__ import annotations

from trustbind.errors import InvalidValueError
from trustbind.identity.subjects import Issuer
from trustbind_cli.cluster_access import ClusterAccess
from trustbind_cli.cluster_objects import ClusterObjects, read_cluster
from trustbind_cli.commands.sweep.wanted import Wanted
from trustbind_cli.files.manifests import Objects
from trustbind_runtime.kubernetes.client import ApiError, NoClusterError

__all__ = ["wanted_by"]


async def wanted_by(issuer: Issuer | None, objects: Objects | None, cluster: ClusterAccess, *, is_gone: bool) -> Wanted:
    """Return what is wanted.

    Args:
        issuer: whose statements are swept; None: the live cluster's.
        objects: of the files; None: there are none.
        cluster: the way to the live cluster.
        is_gone: whether the cluster of ``issuer`` is gone.

    Raises:
        InvalidValueError: files do not say whose statements are meant, or the issuer is not that of the live cluster.
        ManifestError: an object of the live cluster breaks a rule, so what it wants is not known.
        NoClusterError: there is no live cluster.
        ApiError: it refuses, or does not answer.
    """
    if objects is not None:
        if issuer is None:
            raise InvalidValueError("files do not say whose statements are meant; add --issuer", field="-f")
        return Wanted.nothing(issuer, objects.aws_accounts) if is_gone else Wanted.of_files(objects, issuer)
    try:
        live = await _live(cluster)
    except (NoClusterError, ApiError) as error:
        if not is_gone or issuer is None:
            raise
        why = f"no cluster says how other AWS accounts are entered, so only your own is looked at: {error}"
        return Wanted.nothing(issuer, {}, why)
    if issuer is None or (issuer == live.issuer and not is_gone):
        return Wanted.of_cluster(live.objects, live.issuer)
    if issuer == live.issuer:
        raise InvalidValueError(
            f"{issuer} is the issuer of the cluster of this context, which is there; delete its bindings instead",
            field="--cluster-gone",
        )
    if is_gone:
        return Wanted.nothing(issuer, live.objects.aws_accounts)
    raise InvalidValueError(
        f"the cluster of this context has the issuer {live.issuer}; add --cluster-gone if the cluster of {issuer} is "
        "gone, or say with -f what it wants",
        field="--issuer",
    )


async def _live(cluster: ClusterAccess) -> ClusterObjects:
    api = await cluster.connect()
    try:
        return await read_cluster(api)
    finally:
        await api.close()
