"""What ``--live`` adds: a fresh token of the service account, the published issuer, and a real exchange.

The token is for AWS alone and lives ten minutes; it is neither shown nor kept, and the credentials are thrown away.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.error
import urllib.request
from typing import Any, Final
from urllib.parse import quote, urlsplit

import boto3
import botocore
import botocore.exceptions
from botocore.config import Config
from msgspec import structs

from trustbind.diagnosis.facts import Bundle, ExchangeFacts, Fact, PublicIssuerFacts, known, not_visible
from trustbind.diagnosis.model import Wanted
from trustbind.evaluation.token_claims import decoded, without_tokens
from trustbind.identity.arns import RoleArn
from trustbind_runtime.kubernetes.client import ApiError, ApiServer

__all__ = ["ask_live"]

_SECONDS: Final = 15.0
_LIFE: Final = 600
_SESSION: Final = 900
_MOST: Final = 1 << 20
"""Bytes of a document that are read."""
_NO_EXCHANGE: Final = "no token could be had"


async def ask_live(bundle: Bundle, wanted: Wanted, api: ApiServer | None, region: str) -> Bundle:
    """Return the bundle with what only a real exchange shows.

    Args:
        bundle: with the facts of cluster and AWS.
        wanted: what a pod should have.
        api: the API server; None where there is none.
        region: of STS; empty for the one that the SDK takes.
    """
    if wanted.uses_agent or wanted.web_role is None:
        return bundle
    token, why, detail = "", "there is no API server to ask for it", ""
    if api is not None:
        token, why, detail = await _token(bundle, wanted.audience, api)
    public = await asyncio.to_thread(_public, bundle.issuer.value or "")
    if not token:
        hidden: Fact[Any] = not_visible(f"{_NO_EXCHANGE}: {why}", f"{_NO_EXCHANGE}: {detail or why}")
        return structs.replace(bundle, public=public, claims=hidden, header=hidden, exchange=hidden)
    header, claims, *_ = (decoded(part) or {} for part in f"{token}.".split("."))
    exchange = await asyncio.to_thread(_exchange, token, wanted.web_role, region)
    return structs.replace(bundle, public=public, claims=known(claims), header=known(header), exchange=exchange)


async def _token(bundle: Bundle, audience: str, api: ApiServer) -> tuple[str, str, str]:
    """Return a token; an empty one with why there is none, in words of ours, and in those of the API server."""
    name = bundle.pod.value.service_account if bundle.pod.value else bundle.target.name
    if bundle.service_account.value is not None:
        name = bundle.service_account.value.name
    path = f"/api/v1/namespaces/{quote(bundle.target.namespace)}/serviceaccounts/{quote(name)}/token"
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [audience], "expirationSeconds": _LIFE},
    }
    try:
        answer = json.loads(await api.send("POST", path, request, seconds=_SECONDS))
        return str(answer["status"]["token"]), "", ""
    except ApiError as error:
        return "", f"the API server answers with HTTP {error.status}", str(error)
    except (ValueError, KeyError, TypeError):
        return "", "the answer of the API server cannot be read", ""


def _public(issuer: str) -> Fact[PublicIssuerFacts]:
    """Return what the issuer publishes; AWS reads it over the internet, this machine perhaps not."""
    if not issuer.startswith("https://"):
        return not_visible("the issuer is not known, or has no https:// URL")
    trusted = True
    try:
        try:
            document = _json(f"{issuer}/.well-known/openid-configuration")
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ssl.SSLCertVerificationError):
                raise
            trusted = False
            document = _json(f"{issuer}/.well-known/openid-configuration", trusts_all=True)
        keys = _json(str(document.get("jwks_uri", "")), trusts_all=not trusted)
    except (urllib.error.URLError, OSError, ValueError, TypeError) as error:
        return known(PublicIssuerFacts(problem=" ".join(str(error).split()) or type(error).__name__))
    found = {str(k.get("kid", "")): str(k.get("alg", "")) for k in keys.get("keys") or () if isinstance(k, dict)}
    return known(PublicIssuerFacts(issuer=str(document.get("issuer", "")), keys=found, is_trusted=trusted))


def _json(url: str, *, trusts_all: bool = False) -> dict[str, Any]:
    if urlsplit(url).scheme != "https":
        raise ValueError(f"{url or 'jwks_uri'} is no https:// URL")
    context = ssl.create_default_context()
    if trusts_all:  # only public keys are read; the check reports the missing trust
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - https, checked above
    with urllib.request.urlopen(request, timeout=_SECONDS, context=context) as response:  # noqa: S310 - as above
        found = json.loads(response.read(_MOST))
    if not isinstance(found, dict):
        raise TypeError(f"{url} is no JSON object")
    return found


def _exchange(token: str, role: RoleArn, region: str) -> Fact[ExchangeFacts]:
    config = Config(signature_version=botocore.UNSIGNED, connect_timeout=_SECONDS, read_timeout=_SECONDS)
    try:
        sts = boto3.client("sts", region_name=region or boto3.Session().region_name or "us-east-1", config=config)
        sts.assume_role_with_web_identity(
            RoleArn=str(role), RoleSessionName="trustbind-doctor", WebIdentityToken=token, DurationSeconds=_SESSION
        )
    except botocore.exceptions.ClientError as error:
        details = error.response.get("Error", {})
        return known(ExchangeFacts(without_tokens(f"{details.get('Code')}: {details.get('Message')}")))
    except (botocore.exceptions.BotoCoreError, OSError, ValueError) as error:
        why = "STS does not answer"
        return not_visible(why, f"{why}: {without_tokens(' '.join(str(error).split()))}")
    return known(ExchangeFacts())
