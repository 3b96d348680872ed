"""What keeps a role from being in order, what its bindings say then, and how it recovers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.bodies import (
    ACCOUNT,
    OPS,
    OTHER_ROLE,
    ROLE,
    account_body,
    binding_body,
)
from support.scenario_role import RoleScenario
from trustbind.errors import (
    AccessDeniedError,
    AwsError,
    NotFoundError,
    PolicyRejectedError,
    ThrottledError,
    UnreachableError,
)
from trustbind.identity.arns import RoleArn
from trustbind.policy.trust_document import TrustDocument
from trustbind.reasons import TrustReason
from trustbind.reconcile.rollout import RoleProgress, Rollout
from trustbind_operator.controllers.context import Next

LATER = "2026-02-01T00:00:00Z"
THROTTLED = ThrottledError("Rate exceeded", code="Throttling", operation=f"iam:GetRole on {ROLE}")
DENIED = AccessDeniedError("not authorized", code="AccessDenied", operation=f"iam:GetRole on {ROLE}")
REJECTED = PolicyRejectedError("This policy contains broken syntax", code="MalformedPolicyDocument")
UNREACHABLE = UnreachableError("no answer", operation=f"iam:GetRole on {ROLE}")
NO_ENTRY = AccessDeniedError("not authorized to assume", code="AccessDenied", operation="sts:AssumeRole on x")
STALE = {"Effect": "Allow", "Principal": {"AWS": "AROAEXAMPLEEXAMPLE123"}, "Action": "sts:AssumeRole"}
UNSCOPED = {
    "Effect": "Allow",
    "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"},
    "Action": "sts:AssumeRoleWithWebIdentity",
}
SCOPED = UNSCOPED | {"Condition": {"StringLike": {"token.actions.githubusercontent.com:sub": "repo:example-org/*"}}}


@pytest.fixture
def scene() -> Iterator[RoleScenario]:
    """Return a scene."""
    made = RoleScenario()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DENIED, "AccessDenied"),
        (REJECTED, "PolicyRejected"),
        (THROTTLED, "Throttled"),
        (UNREACHABLE, "AccountUnreachable"),
        (AwsError("odd", code="Odd"), "AwsFailed"),
    ],
)
@pytest.mark.parametrize("method", ["GetRole", "UpdateAssumeRolePolicy"])
def test_failed_and_recovered(scene: RoleScenario, error: AwsError, reason: str, method: str) -> None:
    """A new binding says at once what fails; when it works again, everything is as if nothing had been."""
    scene.has_binding()
    scene.aws.always[method] = error

    assert scene.run() is Next.RETRY
    assert scene.ready()[:2] == ("False", reason)
    assert scene.telemetry.failures[0][:2] == (ROLE, reason)
    scene.aws.always.clear()
    assert scene.run() is Next.RESYNC

    assert scene.ready()[0] == "True"
    assert scene.trusted() == ["app"]


@pytest.mark.parametrize(
    ("error", "believed"), [(THROTTLED, 3), (UNREACHABLE, 3), (AwsError("odd"), 3), (DENIED, 1), (REJECTED, 1)]
)
def test_passing_failures_are_believed_late(scene: RoleScenario, error: AwsError, believed: int) -> None:
    """A binding in order keeps its status until the third in a row, unless the failure will not pass by itself."""
    scene.settled()
    scene.aws.always["GetRole"] = error

    for n in range(1, 5):
        scene.run()
        assert (scene.ready()[0] == "False") is (n >= believed)
    assert len(scene.cluster.events) == 1
    assert scene.stored()["statementId"]


def test_a_success_in_between_starts_the_count_anew(scene: RoleScenario) -> None:
    """Only failures in a row count."""
    scene.settled()
    for _ in range(4):
        scene.aws.errors["GetRole"] = [THROTTLED, THROTTLED]
        for _ in range(3):
            scene.run()
    assert scene.ready()[0] == "True"
    assert scene.cluster.events == []


def test_a_changed_binding_is_not_believed_to_be_in_order(scene: RoleScenario) -> None:
    """What its status says is about what it asked for before."""
    scene.settled()
    scene.change(audience="other")
    scene.aws.always["GetRole"] = THROTTLED

    scene.run()

    assert scene.ready()[:2] == ("False", "Throttled")


def test_no_role(scene: RoleScenario) -> None:
    """It is tried again: the role may come."""
    scene.has_binding()
    del scene.aws.roles[ROLE]
    assert scene.run() is Next.RETRY
    assert scene.ready()[:2] == ("False", "RoleNotFound")

    scene.aws.roles[ROLE] = TrustDocument((OPS,))
    scene.run()
    assert scene.ready()[0] == "True"


def test_role_that_went_takes_its_statement_along(scene: RoleScenario) -> None:
    """The binding does not claim that anything lingers."""
    scene.settled()
    del scene.aws.roles[ROLE]
    scene.run()
    assert "statementId" not in scene.stored()


def test_no_way_in(scene: RoleScenario) -> None:
    """The account's own failure stands at its bindings; the account is to be looked at."""
    scene.has_binding()
    scene.sessions.closed[ACCOUNT] = NO_ENTRY

    scene.run()

    status, reason, message = scene.ready()
    assert (status, reason) == ("False", "AccountAccessDenied")
    assert "spec.externalId" in message
    assert set(scene.neighbours.suspected) == {"prod"}


def test_wrong_account(scene: RoleScenario) -> None:
    """Nothing is done where the credentials lead."""
    scene.has_binding()
    scene.aws.account_id = "999999999999"

    scene.run()

    assert scene.ready()[:2] == ("False", "AccountMismatch")
    assert scene.aws.calls["GetRole"] == 0


def test_expired_session_is_dropped(scene: RoleScenario) -> None:
    """The next try assumes the manager role anew."""
    scene.settled()
    scene.aws.errors["GetRole"] = [AccessDeniedError("expired", code="ExpiredToken", operation="iam:GetRole on x")]
    scene.run()
    assert [m.role.name for m in scene.sessions.forgotten] == ["manager"]


@pytest.mark.parametrize("present", [None, {"other"}])
def test_provider_is_made(scene: RoleScenario, present: set[str] | None) -> None:
    """Before the first trust is written."""
    scene.aws.provider = present
    scene.has_binding()
    scene.run()
    assert scene.ready()[0] == "True"
    assert scene.aws.provider == (present or set()) | {"sts.amazonaws.com"}


def test_provider_is_not_ours(scene: RoleScenario) -> None:
    """Then its absence is told, and nobody is let in until it is there."""
    scene.has_account(account_body(oidcProvider={"manage": False}))
    scene.aws.provider = None
    scene.has_binding()

    assert scene.run() is Next.RETRY
    status, reason, message = scene.ready()
    assert (status, reason) == ("False", "ProviderMissing")
    assert "create it with the client id sts.amazonaws.com" in message
    scene.aws.provider = {"sts.amazonaws.com"}
    scene.run()
    assert scene.ready()[0] == "True"


def test_what_the_provider_lacks_for_one_is_no_matter_to_others(scene: RoleScenario) -> None:
    """A binding whose own audience is there stays as it is, and a new one of that kind is let in."""
    scene.has_account(account_body(oidcProvider={"manage": False}))
    scene.settled()
    scene.has_binding(binding_body("lacks", audience="other", serviceAccountNames=["y"]))
    scene.has_binding(binding_body("new", serviceAccountNames=["z"]))

    scene.run()

    assert (scene.ready()[0], scene.ready("new")[0]) == ("True", "True")
    assert scene.ready("lacks")[:2] == ("False", "ProviderMissing")
    assert scene.trusted() == ["app", "z"]


def test_what_the_provider_lacks_keeps_no_trust_alive(scene: RoleScenario) -> None:
    """One binding that waits for its audience does not hold up the revoking of another one's trust."""
    scene.has_account(account_body(oidcProvider={"manage": False}))
    scene.settled()
    scene.delete()
    scene.has_binding(binding_body("new", audience="other", serviceAccountNames=["y"]))

    scene.run()

    assert not scene.exists()
    assert scene.trusted() == []
    assert scene.ready("new")[:2] == ("False", "ProviderMissing")


def test_full(scene: RoleScenario) -> None:
    """The newest that does not fit is refused, with sizes; the others stay."""
    scene.aws.limit = 600
    scene.settled()
    names = [f"a-rather-long-name-of-an-account-{n}" for n in range(5)]
    scene.has_binding(binding_body("new", created=LATER, serviceAccountNames=names))

    scene.run()

    assert scene.ready()[0] == "True"
    status, reason, message = scene.ready("new")
    assert (status, reason) == ("False", "TrustPolicyFull")
    assert "600" in message
    assert scene.trusted() == ["app"]


def test_near_the_limit(scene: RoleScenario) -> None:
    """A warning before it is full."""
    scene.has_account(account_body(trustPolicyLimit=520))
    scene.has_binding()
    scene.run()
    assert scene.ready()[0] == "True"
    assert [t.type for _, _, t in scene.cluster.events] == ["Ready", "NearLimit"]
    assert scene.aws.calls["GetAccountSummary"] == 0


def test_stale_principal(scene: RoleScenario) -> None:
    """Nothing is written while IAM would refuse it; the statement is named."""
    scene.aws.roles[ROLE] = TrustDocument((STALE,))
    scene.has_binding()
    assert scene.run() is Next.SURVEY
    status, reason, message = scene.ready()
    assert (status, reason) == ("False", "StalePrincipal")
    assert "statement 1" in message
    assert scene.aws.calls["UpdateAssumeRolePolicy"] == 0


def test_foreign_statement_that_iam_refuses(scene: RoleScenario) -> None:
    """Nothing is written while IAM would refuse the document; it is once the statement is corrected."""
    scene.aws.roles[ROLE] = TrustDocument((OPS, UNSCOPED))
    scene.has_binding()
    assert scene.run() is Next.SURVEY
    status, reason, message = scene.ready()
    assert (status, reason) == ("False", "ForeignStatementRefused")
    assert "statement 2" in message
    assert 'add a condition on "token.actions.githubusercontent.com:sub"' in message
    assert scene.aws.calls["UpdateAssumeRolePolicy"] == 0

    scene.aws.roles[ROLE] = TrustDocument((OPS, SCOPED))
    scene.run()

    assert scene.ready()[0] == "True"
    assert scene.aws.roles[ROLE].statements[:2] == (OPS, SCOPED)


def test_contended(scene: RoleScenario) -> None:
    """Somebody who undoes every write is told about; it is tried again later."""
    scene.has_binding()

    def undo() -> None:
        number = scene.aws.calls["UpdateAssumeRolePolicy"]
        scene.aws.roles[ROLE] = TrustDocument((OPS, {**OPS, "Sid": f"Other{number}"}))

    scene.aws.after["UpdateAssumeRolePolicy"] = [undo] * 9  # another writer wins every time

    assert scene.run() is Next.SURVEY
    assert scene.ready()[:2] == ("False", "TrustContended")


def test_without_account(scene: RoleScenario) -> None:
    """A live binding says what to write, and keeps in mind what may stand in the trust policy."""
    scene.settled()
    scene.cache.drop_aws_account("prod")

    assert scene.run() is Next.RESYNC

    status, reason, message = scene.ready()
    assert (status, reason) == ("False", "AccountUnknown")
    assert ACCOUNT in message
    assert scene.stored()["statementId"]
    scene.has_account()
    scene.run()
    assert scene.ready()[0] == "True"


def test_own_reason_comes_before_the_missing_account(scene: RoleScenario) -> None:
    """There is no use in an account for a binding that is not granted."""
    scene.cache.drop_aws_account("prod")
    scene.has_grants()
    scene.has_binding()
    scene.run()
    assert scene.ready()[1] == "NotGranted"


def test_one_failing_role_leaves_others_alone(scene: RoleScenario) -> None:
    """Each role has its own count and its own outcome."""
    scene.aws.roles[OTHER_ROLE] = TrustDocument((OPS,))
    scene.has_binding()
    other = binding_body("other", roleArn=str(OTHER_ROLE), serviceAccountNames=["y"])
    scene.has_binding(other)
    del scene.aws.roles[ROLE]

    scene.run()
    scene.run(OTHER_ROLE)

    assert (scene.ready()[1], scene.ready("other")[0]) == ("RoleNotFound", "True")


def test_not_found_is_no_error_of_a_kind_that_passes(scene: RoleScenario) -> None:
    """A role under another path is not the role that is meant."""
    scene.settled()
    scene.aws.errors["GetRole"] = [NotFoundError("there is no role x; the role named app is y", code="NoSuchEntity")]
    scene.run()
    assert scene.ready()[:2] == ("False", "RoleNotFound")


def test_refusal_of_a_role_that_is_gone(scene: RoleScenario) -> None:
    """The tags by which a source role refused a chain are gone with it; the next role of that name is asked anew."""
    source = RoleArn("aws", ACCOUNT, "/", "source")
    scene.has_binding(binding_body(method="AssumeRole", source={"roleArn": str(source)}, externalId="x-1"))
    (stored,) = scene.cache.bindings.values()
    rollouts = scene.controller.progress.rollouts
    rollouts[stored.uid] = Rollout({source: RoleProgress(refusal=(TrustReason.NO_CONSENT, "no tag"))})

    scene.run(source)

    assert rollouts[stored.uid].at(source).is_missing
    assert rollouts[stored.uid].at(source).refusal is None
