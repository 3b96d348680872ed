"""One run of ``trustbind status``."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from trustbind_cli.aws_access import AwsAccess
from trustbind_cli.cluster_access import ClusterAccess
from trustbind_cli.commands.status.collect import Collected, collect, read_capacity
from trustbind_cli.commands.status.report import as_data, exit_code, show
from trustbind_cli.options import TableOutput
from trustbind_cli.output import leave_calls, to_data
from trustbind_cli.progress import Progress

__all__ = ["run"]


def run(
    cluster: ClusterAccess, aws: AwsAccess, *, all_namespaces: bool, selector: str | None, form: TableOutput
) -> int:
    """Print the status and return the exit code.

    Args:
        cluster: the way to the cluster; its namespace limits the RoleBindings.
        aws: the way into AWS.
        all_namespaces: whether RoleBindings of all namespaces count whatever the namespace is.
        selector: label selector of RoleBindings.
        form: text, or data.

    Raises:
        NoClusterError: there is no way to an API server.
    """
    namespace = None if all_namespaces else cluster.namespace
    try:
        seen = asyncio.run(_collected(cluster, aws, namespace, selector))
    except KeyboardInterrupt:
        leave_calls()
        raise
    now = datetime.now(UTC)
    if form in {TableOutput.TEXT, TableOutput.WIDE}:
        show(seen, now, wide=form is TableOutput.WIDE)
    else:
        print(to_data(as_data(seen, now), form))
    return exit_code(seen, now)


async def _collected(cluster: ClusterAccess, aws: AwsAccess, namespace: str | None, selector: str | None) -> Collected:
    progress = Progress()
    try:
        progress.say("reading the cluster")
        api = await cluster.connect()
        try:
            seen = await collect(api, namespace, selector)
        finally:
            await api.close()
        progress.say("reading trust policies in AWS")
        await read_capacity(seen, aws)
    finally:
        progress.end()
    return seen
