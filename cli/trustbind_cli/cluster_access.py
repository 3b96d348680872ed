"""The user's own way to a cluster: ``--kubeconfig``, ``--context`` and ``-n``, with kubectl's defaults."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from trustbind_runtime.kubernetes.client import ApiServer

__all__ = ["ClusterAccess"]

_DEFAULT: Final = "default"
_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""The namespace of a pod (Kubernetes documentation, "Accessing the Kubernetes API from a Pod")."""


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """See the module.

    Attributes:
        kubeconfig: a file; None for KUBECONFIG, else the pod's own service account, else ~/.kube/config.
        context: of the kubeconfig; None for the current one.
        namespace: ``-n``; None for that of the pod or the context.
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

        _quiet()
        return await ApiServer.connect(
            self.kubeconfig or "",
            "trustbind-cli",
            context=self.context,
            prefers_kubeconfig=bool(os.environ.get("KUBECONFIG")),
        )

    def chosen_namespace(self) -> str:
        """Return the namespace that is meant: ``-n``, else that of the pod or the context, else ``default``."""
        if self.namespace:
            return self.namespace
        if self._is_in_pod():
            return _NAMESPACE_FILE.read_text(encoding="utf-8").strip() or _DEFAULT
        from trustbind_runtime.kubernetes.kubeconfig import NoClusterError, namespace_of  # noqa: PLC0415 - as above

        _quiet()
        try:
            return namespace_of(self.kubeconfig or "", self.context) or _DEFAULT
        except NoClusterError:  # connect says so
            return _DEFAULT

    def _is_in_pod(self) -> bool:
        """Return whether `connect` takes the pod's own service account."""
        if self.kubeconfig or self.context is not None or os.environ.get("KUBECONFIG"):
            return False
        return bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and _NAMESPACE_FILE.is_file()


def _quiet() -> None:
    logging.getLogger().addHandler(logging.NullHandler())  # what the client logs, the error says as well
