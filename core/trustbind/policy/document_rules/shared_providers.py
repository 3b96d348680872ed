"""OIDC providers that many organisations share, each with the condition key that IAM asks for.

Source: IAM User Guide, "Identity-provider controls for shared OIDC providers". IAM checks the key when a role is
created and when its trust policy is written, not for policies that stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["CHECKED_VALUES", "REQUIRED_KEYS"]

_BY_SUBJECT: Final = (
    "agent.buildkite.com",
    "app.terraform.io",
    "gitlab.com",
    "oidc-configuration.audit-log.githubusercontent.com",
    "oidc.codefresh.io",
    "oidc.op1.openshiftapps.com/2c51blsaqa9gkjt0o9rt11mle8mmropu",
    "oidc.op1.openshiftapps.com/2f785sojlpb85i7402pk3qogugim5nfb",
    "proidc.upbound.io",
    "rh-oidc.s3.us-east-1.amazonaws.com/22ejnvnnturfmt6km08idd0nt4hekbn7",
    "rh-oidc.s3.us-east-1.amazonaws.com/23e3sd27sju1hoou6ohfs68vbno607tr",
    "rh-oidc.s3.us-east-1.amazonaws.com/23ne21h005qjl3n33d8dui5dlrmv2tmg",
    "rh-oidc.s3.us-east-1.amazonaws.com/24jrf12m5dj7ljlfb4ta2frhrcoadm26",
    "scalr.io",
    "studio.datachain.ai/api",
    "token.actions.githubusercontent.com",
    "tokens.cloud.shisho.dev",
    "vstoken.actions.githubusercontent.com",
)
_BY_AUDIENCE: Final = ("api.pulumi.com/oidc", "cognito-identity.amazonaws.com", "oidc.vercel.com", "sandboxes.cloud")
_SENTINEL: Final = "sts.windows.net/33e01921-4d64-4f8c-a055-5bdaffd5e33d"

REQUIRED_KEYS: Final[Mapping[str, str]] = {
    **{host: f"{host}:sub" for host in _BY_SUBJECT},
    **{host: f"{host}:aud" for host in _BY_AUDIENCE},
    _SENTINEL: "sts:RoleSessionName",
}
"""Host and path of a provider to the key that a statement which trusts it must have a condition on."""

CHECKED_VALUES: Final = frozenset({"token.actions.githubusercontent.com"})
"""Providers of which IAM also refuses values that are wildcards alone, or empty (IAM User Guide, "Create a role for
OpenID Connect federation", GitHub)."""
