"""Writes what becomes of annotated service accounts into one ConfigMap, and counts it; nothing is written per account.

The ConfigMap is the installation's: it has to be there, and only its data is written, so that the operator may write no
other one. See `trustbind.reconcile.annotated_report`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from trustbind.api.annotated_binding import AnnotatedScope
from trustbind.api.annotations import AnnotationKeys
from trustbind.reconcile.annotated_report import (
    AnnotatedAccount,
    AnnotatedState,
    ReportEntry,
    entry_of,
    report_data,
)
from trustbind.reconcile.snapshot import Rank
from trustbind_operator.cluster.cache import ClusterCache
from trustbind_operator.cluster.informer import Feed, Seen
from trustbind_operator.cluster.writer import MERGE
from trustbind_runtime.kubernetes.client import NOT_FOUND, ApiError, ApiServer
from trustbind_runtime.logs import Logger

__all__ = ["OUT_OF_SCOPE", "AnnotatedReporter", "report_path"]

OUT_OF_SCOPE: Final = "OutOfScope"
"""Beside the states of entries, how service accounts are counted that the scope leaves out."""

_SLICE: Final = 20
"""Service accounts between two pauses: some milliseconds of work."""


def report_path(namespace: str, name: str) -> str:
    """Return the path of the report's ConfigMap."""
    return f"/api/v1/namespaces/{namespace}/configmaps/{name}"


class AnnotatedReporter:
    """See the module.

    Args:
        api: the API server.
        cache: the cluster's bindings, grants and namespaces.
        accounts: the service accounts.
        keys: of the annotations.
        scope: which service accounts are reported.
        mode: the setting ``bindAnnotated.mode``.
        path: of the ConfigMap; see `report_path`.
        show: takes the number of service accounts by state.
        log: what could not be written.
    """

    def __init__(
        self,
        api: ApiServer,
        cache: ClusterCache,
        accounts: Feed,
        keys: AnnotationKeys,
        scope: AnnotatedScope,
        mode: str,
        path: str,
        show: Callable[[Mapping[str, int]], None],
        log: Logger,
    ) -> None:
        self._api = api
        self._cache = cache
        self._accounts = accounts
        self._keys = keys
        self._scope = scope
        self._mode = mode
        self._path = path
        self._show = show
        self._log = log
        self._written: Mapping[str, str] | None = None

    async def run(self, interval: float) -> None:
        """Look until cancelled.

        Args:
            interval: seconds between two looks.
        """
        while True:
            await self.look()
            await asyncio.sleep(interval)

    async def look(self) -> None:
        """Write the report where it has changed, and show the numbers."""
        entries: list[ReportEntry] = []
        ranks = Counter[str]()
        out_of_scope = 0
        annotated = {key: seen for key, seen in self._accounts.items() if seen.annotations.get(self._keys.role_arn)}
        for number, (namespace, name) in enumerate(sorted(annotated)):  # the others are many more
            seen = annotated[namespace, name]
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            entry = self._entry(namespace, name, seen, ranks[namespace])
            if entry is None:
                continue
            if not self._scope.covers(namespace, self._cache.namespaces.get(namespace, {}), seen.labels):
                out_of_scope += 1
                continue
            ranks[namespace] += entry.state is AnnotatedState.GRANTED
            entries.append(entry)
        counts = Counter(str(entry.state) for entry in entries)
        self._show({**{str(state): counts[str(state)] for state in AnnotatedState}, OUT_OF_SCOPE: out_of_scope})
        await self._write(report_data(entries, self._mode, out_of_scope))

    def _entry(self, namespace: str, name: str, seen: Seen, before: int) -> ReportEntry | None:
        """Return what becomes of a service account.

        Args:
            namespace: of the service account.
            name: of the service account.
            seen: the service account.
            before: how many of its namespace would be bound before it.
        """
        rank = self._cache.ranks.of_newest(namespace, self._cache.around.most_bindings)
        return entry_of(
            AnnotatedAccount(
                namespace,
                name,
                seen.uid,
                seen.labels,
                seen.annotations,
                self._cache.namespaces.get(namespace, {}),
            ),
            self._keys,
            self._cache.naming(namespace, name),
            self._cache.around,
            Rank(rank.bindings + before, rank.subjects + before),
        )

    async def _write(self, data: Mapping[str, str]) -> None:
        if data == self._written:
            return
        try:
            await self._api.send("PATCH", self._path, {"data": data}, content_type=MERGE)
        except ApiError as error:
            problem = "it does not exist; create it empty" if error.status == NOT_FOUND else str(error)
            self._log.warning("report of annotated service accounts not written", path=self._path, problem=problem)
            return
        self._written = data
