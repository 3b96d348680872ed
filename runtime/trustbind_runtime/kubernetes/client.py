"""The way to the API server: address and credentials from the Kubernetes client, raw JSON from the wire.

The client's models are left out on purpose: for 10,000 accounts they take several times the time and memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import errno
import socket
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Any, Final

import aiohttp
import msgspec
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, ApiException, Configuration
from kubernetes.aio.config import ConfigException

from trustbind import __version__
from trustbind.errors import TrustbindError
from trustbind_runtime.kubernetes import kubeconfig as kubeconfigs
from trustbind_runtime.kubernetes.kubeconfig import NoClusterError

_load_in_cluster: Final[Callable[[Configuration], None]] = config.load_incluster_config

__all__ = ["FORBIDDEN", "GONE", "NOT_FOUND", "ApiError", "ApiServer", "NoClusterError"]

FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
GONE: Final = 410
_OK: Final = 200

Query = Iterable[tuple[str, str]]

_CONNECT_SECONDS: Final = 10.0
"""For the connection of a watch; an API server that is there answers in milliseconds."""

_LIST_SECONDS: Final = 60.0
"""For one page of a list: the API server itself gives up after a minute (kube-apiserver --request-timeout)."""


class ApiError(TrustbindError):
    """The API server refused, or gave no answer.

    Attributes:
        status: HTTP status; 0 when there was no answer.
        is_absent: whether no server has the address: its name is unknown, or nothing listens there. After a time-out,
            or with a certificate that is refused, there may be one.
    """

    def __init__(self, status: int, problem: str, *, is_absent: bool = False) -> None:
        super().__init__(status, problem)
        self.status = status
        self.problem = problem
        self.is_absent = is_absent

    def __str__(self) -> str:
        return f"{self.problem} (HTTP {self.status})" if self.status else self.problem


class _Status(msgspec.Struct, frozen=True):
    """An answer of kind Status (Kubernetes API conventions, "Response Status Kind")."""

    message: str = ""


class ApiServer:
    """One API server and who we are to it."""

    def __init__(self, configuration: Configuration, program: str = "trustbind") -> None:
        self.configuration = configuration
        self._client = ApiClient(configuration)
        self._client.user_agent = f"{program}/{__version__}"
        self._refusal: Callable[[], str] = lambda: ""

    def unless(self, refusal: Callable[[], str]) -> ApiServer:
        """Return the same API server, over the same connections, to which no change is sent while there is a refusal.

        Args:
            refusal: returns why nothing may be changed now; empty when it may.
        """
        other = copy.copy(self)
        other._refusal = refusal  # noqa: SLF001 - of the same class
        return other

    @classmethod
    async def connect(
        cls,
        kubeconfig: str = "",
        program: str = "trustbind",
        *,
        context: str | None = None,
        prefers_kubeconfig: bool = False,
    ) -> ApiServer:
        """Return the API server of ``kubeconfig``; without one, the pod's own, else that of the usual kubeconfig.

        In a pod the account's token is read again every minute, as the kubelet renews it.

        Args:
            kubeconfig: a file; empty: see above.
            program: who calls, for the API server's audit log (User-Agent).
            context: of the kubeconfig; None for its current one. With a name, a pod's own account is not used.
            prefers_kubeconfig: whether the usual kubeconfig comes before a pod's own account.

        Raises:
            NoClusterError: there is none.
        """
        configuration = Configuration()
        if not kubeconfig and not prefers_kubeconfig and context is None:
            with contextlib.suppress(ConfigException):
                _load_in_cluster(configuration)
                return cls._of(configuration, program)
        try:
            await kubeconfigs.load(kubeconfig, context, configuration)
        except NoClusterError as error:
            if kubeconfig:
                raise
            problem = f"there is no API server to ask: {error}"
            raise NoClusterError(problem, is_absent=error.is_absent) from None
        return cls._of(configuration, program)

    @classmethod
    def _of(cls, configuration: Configuration, program: str) -> ApiServer:
        try:
            return cls(configuration, program)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            reason = getattr(error, "reason", None) or type(error).__name__
            raise NoClusterError(f"a certificate or key of the cluster cannot be used ({reason})") from None

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()  # type: ignore[no-untyped-call] # the client's own omission

    async def get(self, path: str, query: Query = (), *, accept: str, seconds: float = _LIST_SECONDS) -> bytes:
        """Return the body of an answer of status 200.

        Raises:
            ApiError: any other status, or no answer within ``seconds``.
        """
        try:
            response = await self._request(path, query, accept, aiohttp.ClientTimeout(total=seconds))
            async with response:
                body = await response.read()
        except TimeoutError:
            raise ApiError(0, f"the API server did not answer within {seconds:g} s") from None
        except (aiohttp.ClientError, OSError, ApiException, ConfigException) as error:
            raise _unreachable(error) from None
        if response.status != _OK:
            raise _refused(response.status, body)
        return body

    async def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Query = (),
        *,
        content_type: str = "application/json",
        seconds: float = _LIST_SECONDS,
    ) -> bytes:
        """Send a change and return the answer's body.

        Args:
            method: POST, PUT, PATCH or DELETE.
            path: of the object or collection.
            body: an object of JSON.
            query: of the URL.
            content_type: for a patch, which kind of patch it is.
            seconds: for all of it.

        Raises:
            ApiError: any status but 2xx, no answer within ``seconds``, or a refusal of `unless`.
        """
        if refusal := self._refusal():
            raise ApiError(0, refusal)
        try:
            response = await self._request(
                path,
                query,
                "application/json",
                aiohttp.ClientTimeout(total=seconds),
                method=method,
                body=body,
                content_type=content_type,
            )
            async with response:
                answer = await response.read()
        except TimeoutError:
            raise ApiError(0, f"the API server did not answer within {seconds:g} s") from None
        except (aiohttp.ClientError, OSError, ApiException, ConfigException) as error:
            raise _unreachable(error) from None
        if not 200 <= response.status < 300:  # noqa: PLR2004 - HTTP's own range of success
            raise _refused(response.status, answer)
        return answer

    async def lines(
        self,
        path: str,
        query: Query,
        *,
        accept: str,
        seconds: float,
        idle_seconds: float,
        opened: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the lines of an answer as they come, until the API server ends it.

        Silence for ``idle_seconds``, or ``seconds`` in all, ends it as well: a connection whose other end is gone
        without a word looks just like that. ``opened`` is called when the answer begins.

        Raises:
            ApiError: a status other than 200, no answer, or a broken connection.
        """
        limits = aiohttp.ClientTimeout(total=seconds, sock_connect=_CONNECT_SECONDS, sock_read=idle_seconds)
        try:
            response = await self._request(path, query, accept, limits)
        except TimeoutError:
            raise ApiError(0, "the API server did not answer in time") from None
        except (aiohttp.ClientError, OSError, ApiException, ConfigException) as error:
            raise _unreachable(error) from None
        try:
            if response.status != _OK:
                raise _refused(response.status, await response.read())
            opened()
            rest = b""
            async for chunk in response.content.iter_any():
                # Not readline: it has a limit on a line's length, and objects have another one.
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line:
                        yield line
        except TimeoutError:
            return
        except (aiohttp.ClientError, OSError) as error:
            raise _unreachable(error) from None
        finally:
            response.close()

    async def _request(
        self,
        path: str,
        query: Query,
        accept: str,
        limits: aiohttp.ClientTimeout,
        *,
        method: str = "GET",
        body: Mapping[str, Any] | None = None,
        content_type: str = "",
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": accept}
        if content_type:
            headers["Content-Type"] = content_type
        method, url, headers, _, _ = await self._client.param_serialize(
            method,
            path,
            query_params=list(query),
            header_params=headers,
            auth_settings=["BearerToken"],
        )
        answer: Any = await self._client.call_api(method, url, headers, body, _request_timeout=limits)
        response: aiohttp.ClientResponse = answer.response
        return response


def _unreachable(error: Exception) -> ApiError:
    if isinstance(error, asyncio.TimeoutError):  # aiohttp's are both
        return ApiError(0, "the API server did not answer in time")
    problem = f"the API server cannot be reached: {' '.join(str(error).split()) or type(error).__name__}"
    return ApiError(0, problem, is_absent=_is_absent(error))


_UNKNOWN_NAME: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
"""getaddrinfo(3). Not EAI_AGAIN: the name server gave no answer."""


def _is_absent(error: Exception) -> bool:
    if not isinstance(error, aiohttp.ClientConnectorError) or isinstance(error, aiohttp.ClientProxyConnectionError):
        return False
    cause = error.os_error
    if isinstance(cause, socket.gaierror):
        return cause.errno in _UNKNOWN_NAME
    return cause.errno == errno.ECONNREFUSED


def _refused(status: int, body: bytes) -> ApiError:
    try:
        message = msgspec.json.decode(body, type=_Status).message
    except msgspec.DecodeError:
        message = body[:200].decode(errors="replace").strip()
    return ApiError(status, message or "the API server refused")
