"""The environment variables of a container that decide whether it has a role."""

from __future__ import annotations

from typing import Final

__all__ = ["NAMES", "PROXIES", "UNPROXIED", "VALUED"]

PROXIES: Final = frozenset({"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"})

VALUED: Final = PROXIES | {
    *("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_SESSION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION"),
    *("AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SDK_LOAD_CONFIG", "AWS_STS_REGIONAL_ENDPOINTS"),
    *("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "NO_PROXY", "no_proxy"),
}
"""Those whose values are looked at."""

NAMES: Final = VALUED | {
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SHARED_CREDENTIALS_FILE"),
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
}
"""All of them; of the others only counts whether they are set."""

UNPROXIED: Final = frozenset({"amazonaws.com", "sts.amazonaws.com", "169.254.170.23", "[fd00:ec2::23]", "fd00:ec2::23"})
"""Hosts in NO_PROXY that decide."""
