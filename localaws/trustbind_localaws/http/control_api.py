"""The knobs over HTTP, for tests and demos in another process. JSON in, JSON out, under ``/_local/``.

Route by route; every POST takes an object with the named members, and answers ``{}``:

    GET    /_local/health             {"status": "ok"}
    POST   /_local/issuers            issuer, jwks
    POST   /_local/accounts           an accounts file's content
    POST   /_local/quota              account, characters
    POST   /_local/clusters           account, region, name
    GET    /_local/decisions          list of decisions; DELETE empties it
    GET    /_local/calls              list of calls (?account=, ?operation=); DELETE starts anew
    GET    /_local/counts             list of {account, operation, count}
    POST   /_local/throttle           account, operations, count or rate
    POST   /_local/deny               account, operations
    POST   /_local/unreachable        account, on
    POST   /_local/delay-visibility   calls, seconds
    DELETE /_local/faults             ends all of the above
    POST   /_local/advance            seconds
    POST   /_local/reset

There is no authentication: the server listens on the loopback address only, and holds nothing but test data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

from trustbind_localaws.protocol.query import Response

if TYPE_CHECKING:
    from trustbind_localaws.local_aws import LocalAws

__all__ = ["PREFIX", "Admin"]

PREFIX: Final = "/_local/"

_Members = Mapping[str, Any]


class Admin:
    """Answers requests under ``/_local/``."""

    def __init__(self, aws: LocalAws) -> None:
        self._aws = aws
        self._routes: Mapping[tuple[str, str], Callable[[_Members], Any]] = {
            ("GET", "health"): lambda _: {"status": "ok"},
            ("POST", "issuers"): lambda m: aws.register_issuer(m["issuer"], m["jwks"]),
            ("POST", "accounts"): aws.seed,
            ("POST", "quota"): lambda m: aws.set_quota(m["account"], int(m["characters"])),
            ("POST", "clusters"): lambda m: aws.create_cluster(m["account"], m["region"], m["name"]),
            ("GET", "decisions"): lambda _: aws.as_json(aws.decisions),
            ("DELETE", "decisions"): lambda _: aws.forget_decisions(),
            ("GET", "calls"): lambda m: aws.as_json(aws.calls(m.get("account", ""), m.get("operation", ""))),
            ("DELETE", "calls"): lambda _: aws.reset_calls(),
            ("GET", "counts"): lambda _: self._counts(),
            ("POST", "throttle"): lambda m: aws.throttle(*_scope(m), count=m.get("count"), rate=m.get("rate")),
            ("POST", "deny"): lambda m: aws.deny(*_scope(m)),
            ("POST", "unreachable"): lambda m: aws.unreachable(m.get("account", "*"), on=bool(m.get("on", True))),
            ("POST", "delay-visibility"): lambda m: aws.delay_visibility(
                calls=int(m.get("calls", 0)), seconds=float(m.get("seconds", 0))
            ),
            ("DELETE", "faults"): lambda _: aws.clear_faults(),
            ("POST", "advance"): lambda m: aws.advance(float(m["seconds"])),
            ("POST", "reset"): lambda _: aws.reset(),
        }

    def handle(self, method: str, target: str, body: bytes) -> Response:
        """Return the answer to an admin request: 404 for an unknown route, 400 with ``error`` for wrong members."""
        parts = urlsplit(target)
        route = self._routes.get((method, parts.path.removeprefix(PREFIX)))
        if route is None:
            return _json({"error": f"there is no {method} {parts.path} here"}, 404)
        try:
            members = json.loads(body) if body else dict(parse_qsl(parts.query))
            if not isinstance(members, dict):
                raise TypeError("the body is not a JSON object")  # noqa: TRY301 - one place answers all of them
            result = route(members)
        except KeyError as error:
            return _json({"error": f"the member {error} is missing"}, 400)
        except (ValueError, TypeError, AttributeError) as error:
            return _json({"error": str(error)}, 400)
        return _json({} if result is None else result)

    def _counts(self) -> list[dict[str, Any]]:
        return [
            {"account": account, "operation": operation, "count": count}
            for (account, operation), count in sorted(self._aws.call_counts().items())
        ]


def _scope(members: _Members) -> tuple[str, list[str]]:
    operations = members.get("operations", ["*"])
    return members.get("account", "*"), [operations] if isinstance(operations, str) else operations


def _json(value: Any, status: int = 200) -> Response:
    return Response(status, json.dumps(value).encode(), "application/json")
