"""Checks 17 to 22: the token is the one that AWS expects, and AWS can verify it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from trustbind.diagnosis.model import Case, Check, Outcome, broken, fine, not_applicable, unseen
from trustbind.errors import InvalidValueError
from trustbind.evaluation.token_claims import audiences_of, moment
from trustbind.identity.subjects import Issuer, Subject

__all__ = ["CHECKS", "request_claims"]

_SKEW: Final = timedelta(minutes=5)
"""Between the clock of the API server, which sets ``iat`` and ``nbf``, and that of this machine."""
_ALGORITHMS: Final = frozenset({"RS256", "RS384", "RS512", "ES256", "ES384", "ES512"})
"""IAM User Guide, "Create an OpenID Connect (OIDC) identity provider in IAM"."""
_BY_AGENT: Final = "EKS Pod Identity needs no token of the cluster's issuer at STS"


def request_claims(case: Case) -> dict[str, Any] | None:
    """Return the claims of the pod's token; those that follow from the pod where the token was not seen.

    None where the issuer is not known.
    """
    if case.bundle.claims.value is not None:
        return case.bundle.claims.value
    issuer = case.bundle.issuer.value
    if issuer is None:
        return None
    audience = case.volume.audience if case.volume is not None else case.wanted.audience
    subject = Subject(case.bundle.target.namespace, case.account_name)
    return {"iss": issuer, "aud": [audience], "sub": str(subject)}


def _times(case: Case) -> Outcome:
    if case.wanted.uses_agent:
        return not_applicable(_BY_AGENT)
    claims = case.bundle.claims.value
    if claims is None:
        return unseen("when the token expires", case.bundle.claims)
    expires, issued, begins = (moment(claims.get(name)) for name in ("exp", "iat", "nbf"))
    if expires is None:
        return broken("the token has no claim exp", "use a projected token: the webhook adds one to new pods")
    if expires <= case.now:
        return broken(
            f"the token expired at {expires:%Y-%m-%dT%H:%M:%SZ}",
            "see whether the kubelet of the node renews tokens, and read the file again in the program",
        )
    if begins is not None and begins > case.now + _SKEW:  # of a fresh token it is a moment after the facts' time
        return broken(
            f"the token is valid from {begins:%Y-%m-%dT%H:%M:%SZ} on (claim nbf), and it is "
            f"{case.now:%Y-%m-%dT%H:%M:%SZ}",
            "correct the clock of the control plane or of this machine",
        )
    if issued is not None and issued > case.now + _SKEW:
        return broken(
            f"the token was issued at {issued:%Y-%m-%dT%H:%M:%SZ}, and it is {case.now:%Y-%m-%dT%H:%M:%SZ}",
            "correct the clock of the control plane or of this machine",
        )
    return fine(f"the token expires at {expires:%Y-%m-%dT%H:%M:%SZ}")


def _issuer(case: Case) -> Outcome:
    if case.wanted.uses_agent:
        return not_applicable(_BY_AGENT)
    issuer = case.bundle.issuer.value
    if issuer is None:
        return unseen("the cluster's issuer", case.bundle.issuer)
    try:
        parsed = Issuer.parse(issuer)
    except InvalidValueError as error:
        return broken(f"IAM takes no provider for the cluster's issuer: {error}", "change --service-account-issuer")
    claimed = (case.bundle.claims.value or {}).get("iss")
    if claimed is not None and claimed != issuer:
        return broken(
            f"the token's issuer is {claimed}, and the cluster's is {issuer}",
            "restart the pod; the API server's --service-account-issuer has changed",
        )
    if near := _almost(case, parsed):
        return broken(
            f"the trust policy names the provider {near}, and the issuer is {parsed.host_path}: they differ by a slash",
            "make a provider of exactly the issuer, and name that in the trust policy",
        )
    return fine(f"the issuer is {issuer}")


def _almost(case: Case, issuer: Issuer) -> str:
    """Return a provider in the trust policy that differs from the issuer by a slash alone; empty for none."""
    role = case.bundle.role.value
    if role is None:
        return ""
    provider = issuer.provider_for(case.wanted.web_role) if case.wanted.web_role else None
    text = str(role.trust_policy)
    bare = str(provider).rstrip("/") if provider else ""
    for other in (bare, f"{bare}/"):
        quoted = f"'{other}'"
        if bare and other != str(provider) and quoted in text and f"'{provider}'" not in text:
            return other.partition(":oidc-provider/")[2]
    return ""


def _audience(case: Case) -> Outcome:
    if case.wanted.uses_agent:
        return not_applicable(_BY_AGENT)
    if not case.wanted.audience:
        return case.without_role
    if case.bundle.claims.value is not None:
        found, where = list(audiences_of(case.bundle.claims.value)), "the token"
    elif case.volume is not None:
        found, where = [case.volume.audience], f"volume {case.volume.name} of the pod"
    else:
        return not_applicable("the pod has no token for AWS") if case.pod else case.without_pod
    if case.wanted.audience not in found:
        return broken(
            f"the audience of {where} is {', '.join(found) or 'the API server'}, and the role needs "
            f"{case.wanted.audience}",
            "restart the pod; a volume in its template needs that audience",
        )
    return fine(f"the audience is {case.wanted.audience}")


def _subject(case: Case) -> Outcome:
    if case.wanted.uses_agent:
        return not_applicable(_BY_AGENT)
    meant = str(Subject(case.bundle.target.namespace, case.account_name))
    claims = case.bundle.claims.value
    if claims is None and case.pod is None and case.bundle.target.kind == "Pod":
        return case.without_pod
    if claims is None:
        return fine(f"the subject is {meant}, which follows from the service account")
    if claims.get("sub") != meant:
        return broken(
            f"the token's subject is {claims.get('sub')}, and the service account's is {meant}",
            "use the token of the pod's own volume",
        )
    return fine(f"the subject is {meant}")


def _public(case: Case) -> Outcome:
    if case.wanted.uses_agent:
        return not_applicable(_BY_AGENT)
    fact = case.bundle.public
    if case.is_exchanged:
        return fine("AWS has read the issuer's keys: STS took a token")
    if fact.value is None:
        return unseen("whether AWS can read the issuer", fact)
    if fact.value.problem:
        return broken(
            f"the issuer's discovery document cannot be read from here: {fact.value.problem}",
            "publish /.well-known/openid-configuration and the JWKS where AWS can read them, without credentials",
        )
    if fact.value.issuer != case.bundle.issuer.value and case.bundle.issuer.value is not None:
        return broken(
            f"the published discovery document names the issuer {fact.value.issuer}, and the cluster's is "
            f"{case.bundle.issuer.value}",
            "publish the cluster's own document",
        )
    return fine("the issuer's discovery document and keys are public")


def _key(case: Case) -> Outcome:
    if case.wanted.uses_agent:
        return not_applicable(_BY_AGENT)
    public, header = case.bundle.public.value, case.bundle.header.value
    if case.is_exchanged:
        return fine("AWS has verified a token's signature: STS took it")
    if public is None:
        return unseen("the issuer's public keys", case.bundle.public)
    if header is None:
        return unseen("the token's key id", case.bundle.header)
    algorithm = str(header.get("alg", ""))
    if algorithm not in _ALGORITHMS:
        return broken(f"the token is signed with {algorithm or 'nothing'}, which IAM does not take", "sign with RS256")
    kid = str(header.get("kid", ""))
    if kid not in public.keys:
        return broken(
            f"the published JWKS has no key {kid!r}, with which the token is signed",
            "publish the API server's present JWKS (kubectl get --raw /openid/v1/jwks)",
        )
    return fine(f"key {kid} is published")


CHECKS: Final = (
    Check(17, "TokenExpired", "The token has expired, or a clock is wrong.", "Renew it; correct clocks.", _times),
    Check(
        18,
        "OtherIssuer",
        "The token's issuer, the cluster's and the trust policy's differ, be it by a slash, or IAM does not take it.",
        "Make a provider of exactly the issuer, and restart the pod.",
        _issuer,
    ),
    Check(
        19,
        "OtherAudience",
        "The token is for another audience than the role needs; where azp is set, it counts.",
        "Restart the pod, or correct the volume in its template.",
        _audience,
    ),
    Check(
        20, "OtherSubject", "The token is of another service account.", "Use the token of the pod's volume.", _subject
    ),
    Check(
        21,
        "IssuerNotPublic",
        "The issuer's discovery document cannot be read without credentials, or names another issuer.",
        "Publish it where AWS can read it.",
        _public,
    ),
    Check(
        22,
        "KeyNotPublished",
        "The key that signed the token is not in the published JWKS, or its algorithm is not supported.",
        "Publish the API server's present JWKS.",
        _key,
    ),
)
