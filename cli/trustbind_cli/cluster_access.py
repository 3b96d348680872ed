"""The user's own way to a cluster: ``--kubeconfig``, ``--context`` and ``-n``, with kubectl's defaults."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trustbind_runtime.kubernetes.client import ApiServer

__all__ = ["ClusterAccess"]


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """See the module.

    Attributes:
        kubeconfig: a file; None for KUBECONFIG, else the pod's own service account, else ~/.kube/config.
        context: of the kubeconfig; None for the current one.
        namespace: ``-n``; None for that of the context.
    """

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None

    async def connect(self) -> ApiServer:
        """Return the API server.

        Raises:
            NoClusterError: there is none; see `ApiServer.connect`.
        """
        from trustbind_runtime.kubernetes.client import ApiServer  # noqa: PLC0415 - takes long to load

        logging.getLogger().addHandler(logging.NullHandler())  # what the client logs, the error says as well

        return await ApiServer.connect(
            self.kubeconfig or "",
            "trustbind-cli",
            context=self.context,
            prefers_kubeconfig=bool(os.environ.get("KUBECONFIG")),
        )

    def chosen_namespace(self) -> str:
        """Return the namespace that is meant: ``-n``, else that of the context, else ``default``."""
        if self.namespace:
            return self.namespace
        from kubernetes.aio import config  # noqa: PLC0415 - takes long to load

        try:
            # The client's own omission of types.
            contexts, current = config.list_kube_config_contexts(self.kubeconfig)  # type: ignore[no-untyped-call]
        except (config.ConfigException, OSError, ValueError):
            return "default"
        chosen: Any = next((each for each in contexts if each["name"] == self.context), current)
        return str(chosen.get("context", {}).get("namespace") or "default")
