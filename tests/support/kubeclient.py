"""A thin client of the Kubernetes API for tests: raw JSON, and errors that show what the API server said."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import ssl
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, overload
from urllib.parse import quote, urlencode, urlsplit

import yaml

from support.processes import eventually

__all__ = ["CRDS", "ROOT", "ApiError", "KubeClient", "load_manifests"]

T = TypeVar("T")
Object = dict[str, Any]

ROOT: Final = Path(__file__).resolve().parents[2]
"""The checkout."""

CRDS: Final = ROOT / "manifests" / "crd"

WAIT_SECONDS: Final = 90
"""Default deadline of `KubeClient.wait`."""


class ApiError(Exception):
    """The API server refused a request.

    Attributes:
        status: the HTTP status.
        reason: Kubernetes' word for it, such as ``Invalid`` or ``Forbidden``.
        message: the API server's own, which names the fields.
    """

    def __init__(self, request: str, status: int, reason: str, message: str) -> None:
        super().__init__(f"{request}: {status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


def load_manifests(*paths: Path) -> list[Object]:
    """Return the objects in these YAML files, and in the YAML files of these folders, in the order of their names."""
    files = [file for path in paths for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])]
    return [document for file in files for document in yaml.safe_load_all(file.read_text()) if document]


class KubeClient:
    """A client of one API server, as one user unless a call says otherwise.

    Attributes:
        url: where it listens, without a slash at the end.
        ca_file: the certificate to trust.
        bearer: the user's token.
    """

    def __init__(self, url: str, ca_file: Path, bearer: str) -> None:
        self.url = url
        self.ca_file = ca_file
        self.bearer = bearer
        self._tls: ssl.SSLContext | None = None
        self._resources: dict[tuple[str, str], Object] = {}

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float = 30,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send one request and return the answer: JSON as a value, anything else as text.

        Args:
            method: such as ``GET``.
            path: with its query, such as ``/api/v1/pods?limit=1``.
            body: sent as JSON; None: no body.
            token: whose it is; None: the client's own; empty: nobody's.
            content_type: a patch has one of its own.
            accept: what form the answer should have, such as a Table.
            timeout: in seconds.
            headers: further ones, such as those of impersonation.

        Raises:
            ApiError: the answer was 400 or above.
        """
        sent = {"Accept": accept, **(headers or {})}
        bearer = self.bearer if token is None else token
        if bearer:
            sent["Authorization"] = f"Bearer {bearer}"
        if body is not None:
            sent["Content-Type"] = content_type
        parts = urlsplit(self.url)
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=timeout, context=self._tls_context()
        )
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body), sent)
            response = connection.getresponse()
            text = response.read().decode()
            is_json = response.headers.get_content_type().endswith("json")
        answer = json.loads(text) if is_json and text else text
        if response.status >= http.client.BAD_REQUEST:
            status = answer if isinstance(answer, dict) else {}
            raise ApiError(
                f"{method} {path}", response.status, status.get("reason", ""), status.get("message", text.strip())
            )
        return answer

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=str(self.ca_file))
        return self._tls

    def path(self, manifest: Mapping[str, Any], *, subresource: str = "", collection: bool = False) -> str:
        """Return the path of the object in ``manifest``, or of the collection that it would be created in.

        A namespaced object without a namespace is in ``default``.
        """
        api_version, kind = manifest["apiVersion"], manifest["kind"]
        resource = self._resource(api_version, kind)
        metadata = manifest.get("metadata", {})
        path = f"/{'apis' if '/' in api_version else 'api'}/{api_version}"
        if resource["namespaced"]:
            path += f"/namespaces/{metadata.get('namespace', 'default')}"
        path += f"/{resource['name']}"
        if collection:
            return path
        return f"{path}/{quote(metadata['name'])}" + (f"/{subresource}" if subresource else "")

    def _resource(self, api_version: str, kind: str) -> Object:
        """Return how discovery describes ``kind``; it is asked again for what it did not have before."""
        if (api_version, kind) not in self._resources:
            root = "apis" if "/" in api_version else "api"
            for found in self.request("GET", f"/{root}/{api_version}")["resources"]:
                if "/" not in found["name"]:
                    self._resources[api_version, found["kind"]] = found
        try:
            return self._resources[api_version, kind]
        except KeyError:
            raise LookupError(f"the API server knows no {kind} in {api_version}") from None

    def create(self, manifest: Mapping[str, Any], *, token: str | None = None) -> Object:
        """Create the object in ``manifest`` and return it as it was stored; an unknown field is an error."""
        path = f"{self.path(manifest, collection=True)}?fieldValidation=Strict"
        created: Object = self.request("POST", path, manifest, token=token)
        return created

    @overload
    def apply(self, manifest: Mapping[str, Any], *, token: str | None = None, manager: str = ...) -> Object: ...
    @overload
    def apply(
        self, manifest: Iterable[Mapping[str, Any]], *, token: str | None = None, manager: str = ...
    ) -> list[Object]: ...
    def apply(
        self,
        manifest: Mapping[str, Any] | Iterable[Mapping[str, Any]],
        *,
        token: str | None = None,
        manager: str = "tests",
    ) -> Object | list[Object]:
        """Apply one object or several on the server's side, and return them as they are stored.

        Unknown fields are errors; conflicts with other managers are won.
        """
        if not isinstance(manifest, Mapping):
            return [self.apply(one, token=token, manager=manager) for one in manifest]
        query = urlencode({"fieldManager": manager, "force": "true", "fieldValidation": "Strict"})
        applied: Object = self.request(
            "PATCH",
            f"{self.path(manifest)}?{query}",
            manifest,
            token=token,
            content_type="application/apply-patch+yaml",  # JSON is YAML
        )
        return applied

    def get(self, manifest: Mapping[str, Any]) -> Object:
        """Return the stored object that has the kind, namespace and name of ``manifest``."""
        found: Object = self.request("GET", self.path(manifest))
        return found

    def delete(self, manifest: Mapping[str, Any]) -> None:
        """Delete the object; what its finalizers wait for is not waited for."""
        self.request("DELETE", self.path(manifest))

    # What tests need to begin with

    def install_crds(self) -> None:
        """Install the CRDs of ``manifests/crd`` and return when their objects can be written."""
        definitions = load_manifests(CRDS)
        self.apply(definitions)
        for definition in definitions:
            spec = definition["spec"]
            path = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}?limit=1"
            self.wait(
                partial(self._is_established, definition), message=f"{definition['metadata']['name']} is established"
            )
            self.wait(partial(self.request, "GET", path), message=f"{path} is served")

    def _is_established(self, definition: Mapping[str, Any]) -> bool:
        # A new definition's status may be there with conditions that are null.
        conditions = self.get(definition).get("status", {}).get("conditions") or []
        return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)

    def namespace(self, prefix: str = "test", labels: Mapping[str, str] | None = None) -> str:
        """Create a namespace of a random name, with its account ``default``, and return the name."""
        name = f"{prefix}-{secrets.token_hex(4)}"
        self.create(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels or {})}},
        )
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}}
        try:
            self.create(account)
        except ApiError as error:
            if error.status != http.client.CONFLICT:  # the controller, if there is one, may be quicker
                raise
        return name

    def token(self, namespace: str, account: str, audience: str | None = None, expiration: int = 3600) -> str:
        """Return a token of a service account from the TokenRequest API.

        Args:
            namespace: the account's.
            account: its name; it must exist.
            audience: None: the API server itself.
            expiration: seconds, 600 at least.
        """
        spec: Object = {"expirationSeconds": expiration}
        if audience is not None:
            spec["audiences"] = [audience]
        answer = self.request(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
        )
        return str(answer["status"]["token"])

    def jwks(self) -> Object:
        """Return the public keys of the tokens, as a JSON Web Key Set."""
        keys: Object = self.request("GET", "/openid/v1/jwks", accept="application/jwk-set+json")
        return keys

    def wait(self, condition: Callable[[], T], timeout: float = WAIT_SECONDS, message: str = "") -> T:
        """Call ``condition`` until what it returns is true, and return that.

        An `ApiError` or a failed connection counts as "not yet" and is told when the time is over.

        Raises:
            TimeoutError: with ``message`` and the last answer.
        """
        last: object = None

        def probe() -> T | None:
            nonlocal last
            try:
                last = result = condition()
            except (ApiError, OSError, http.client.HTTPException) as error:
                last = error
                return None
            return result

        try:
            return eventually(probe, message or "a condition", seconds=timeout)
        except AssertionError as error:
            raise TimeoutError(f"{error}; last: {last!s:.500}") from None
