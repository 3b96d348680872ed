"""Objects of our kinds as the API server stores them, and as files have them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from fuzz.checks import bounded, check_sentence
from fuzz.targets.admission import VALIDATE_WORDS
from trustbind.api.aws_account import AwsAccount
from trustbind.api.manifests import read
from trustbind.api.role_binding import RoleBinding
from trustbind.api.role_grant import RoleGrant
from trustbind.errors import ManifestError
from trustbind.identity.subjects import Issuer
from trustbind.reconcile.decision import decide
from trustbind.reconcile.stored_aws_account import StoredAwsAccount
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_cli.files.manifests import sort_out
from trustbind_operator.cluster.cache import ClusterCache, StoredGrant

__all__ = ["MANIFEST_WORDS", "OBJECT_WORDS", "check_manifests", "check_stored"]

_ISSUER: Final = Issuer.parse("https://oidc.example.com/id/1")
_LABELS: Final = {"app": "x"}

OBJECT_WORDS: Final = (
    *VALIDATE_WORDS,
    *("conditions", "type", "Ready", "True", "Authorized", "observedGeneration", "statementId", "issuer", "generation"),
    *("finalizers", "trustbind.dev/trust", "annotations", "creationTimestamp", "uid", "resourceVersion", "team-a"),
)
MANIFEST_WORDS: Final = (
    *OBJECT_WORDS,
    *("---\n", "- ", ": ", "&a ", "*a", "<<: *a\n", "!!binary ", "!!python/object:os.system ", "0x" + "f" * 5000),
    *("1:30", "2026-01-01", ".inf", "~", "|\n ", "ServiceAccountList", "items", "Pod", "ServiceAccount", "v1", "? "),
)


def check_stored(data: bytes) -> None:
    """Take an object out of a watch's event: whatever its spec holds, and whatever else but conditions its status."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return  # the client of the API server refuses it before
    if not isinstance(body, dict):
        return
    stored = _stored(body)
    binding = bounded(lambda: StoredBinding.of(stored("RoleBinding")), data, a_byte=100)
    account = bounded(lambda: StoredAwsAccount.of(stored("AWSAccount")), data, a_byte=100)
    grant = bounded(lambda: StoredGrant.of(stored("RoleGrant")), data, a_byte=100)
    for value, problem in (
        (binding.binding, binding.problem),
        (account.account, account.problem),
        (grant.grant, grant.problem),
    ):
        assert (value is None) == bool(problem)
        if problem:
            check_sentence(problem)
    _check_decided(binding, account, grant)


def check_manifests(data: bytes) -> None:
    """Read a file of manifests."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return  # refused before, with a sentence of its own
    try:
        manifests = bounded(lambda: read(text, "file.yaml"), data, a_byte=400)
        bounded(lambda: sort_out(manifests), data, a_byte=400)
    except ManifestError as error:
        check_sentence(str(error))


def _stored(body: Mapping[str, Any]) -> Callable[[str], dict[str, Any]]:
    """Return a function that gives the body as an object of a kind, with metadata as the API server keeps them."""
    metadata = body.get("metadata")
    given = metadata if isinstance(metadata, dict) else {}
    kept: dict[str, Any] = {
        "name": "b",
        "namespace": "team-a",
        "uid": "0123",
        "resourceVersion": "7",
        "generation": 3,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "finalizers": _texts(given.get("finalizers")),
        "annotations": {k: str(v) for k, v in _object(given.get("annotations")).items()},
    }
    if given.get("deletionTimestamp"):
        kept["deletionTimestamp"] = "2026-01-02T00:00:00Z"
    return lambda kind: {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": kind,
        "metadata": kept,
        "spec": _object(body.get("spec")),
        "status": _status(_object(body.get("status"))),
    }


def _status(given: dict[str, Any]) -> dict[str, Any]:
    """Return a status with conditions in the form that the schema holds them to; only the operator writes them."""
    listed = given.get("conditions")
    conditions = [c for c in listed if isinstance(c, dict)] if isinstance(listed, list) else []
    texts = [{k: v for k, v in c.items() if isinstance(v, str) or k == "observedGeneration"} for c in conditions]
    return given | {"conditions": texts}


def _check_decided(binding: StoredBinding, account: StoredAwsAccount, grant: StoredGrant) -> None:
    """Check that a decision about each role of the binding can be made, and that what is refused has a sentence."""
    cache = ClusterCache(_ISSUER)
    cache.put_namespace("team-a", {"team": "a"})
    cache.put_service_account("team-a", "reader", _LABELS)
    cache.put_grant(grant)
    cache.put_aws_account(account)
    cache.put_binding(binding)
    for role in binding.roles:
        (decision,) = decide(cache.snapshot(role, {}))
        if decision.reason is not None:
            check_sentence(decision.message)
            assert not decision.claims or decision.only_keeps
        _check_granted(binding.binding, grant.grant, account.account, is_granted=bool(decision.authorized))


def _check_granted(
    binding: RoleBinding | None, grant: RoleGrant | None, account: AwsAccount | None, *, is_granted: bool
) -> None:
    """Check that nothing is granted by a grant that cannot be parsed, or for another namespace."""
    if is_granted:
        assert binding is not None
        assert grant is not None
        assert "team-a" in grant.namespaces or grant.selector is not None
        assert binding.method in grant.methods
        assert account is None or account.account_id


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
