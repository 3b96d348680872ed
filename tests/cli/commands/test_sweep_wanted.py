"""What files want of a sweep: the whole truth, or not enough of it."""

from __future__ import annotations

import pytest

from support.trust import FOREIGN, ROLE, SOURCE, document
from trustbind.api.aws_account import AwsAccount, DriftPolicy
from trustbind.errors import InvalidValueError
from trustbind.identity.subjects import Issuer
from trustbind.policy.sweep import sweep
from trustbind.reasons import TrustReason
from trustbind_cli.commands.sweep.found import RoleSweep
from trustbind_cli.commands.sweep.wanted import Wanted
from trustbind_cli.files.manifests import Objects

ISSUER = Issuer.parse("https://oidc.example.com")


def test_set_that_binds_nothing_known() -> None:
    """A RoleBindingSet that leads to no binding of the files stops a sweep: what it wants is not known."""
    objects = Objects(ignored=[("RoleBindingSet profiles", "no Namespace of the files has its labels")])

    with pytest.raises(InvalidValueError, match="RoleBindingSet profiles is in the files, and what it binds"):
        Wanted.of_files(objects, ISSUER)


def test_other_objects() -> None:
    """What is ignored besides stops nothing, and service accounts are not known to be all."""
    wanted = Wanted.of_files(Objects(ignored=[("ConfigMap x", "not used here")]), ISSUER)

    assert (wanted.bindings, wanted.service_accounts, wanted.is_gone) == ((), None, False)


@pytest.mark.parametrize("policy", DriftPolicy)
def test_permissions_in_an_observed_account(policy: DriftPolicy) -> None:
    """The inline policy of a source role is not written there, either; where nothing is due, nothing is refused."""
    account = AwsAccount("prod", ROLE.account_id, drift_policy=policy)
    nothing = sweep(ROLE, document(FOREIGN), ISSUER, ())

    assert RoleSweep(ROLE, account, document(FOREIGN), nothing).refusal is None
    refusal = RoleSweep(ROLE, account, document(FOREIGN), nothing, frozenset({str(SOURCE)})).refusal
    if policy is DriftPolicy.REPAIR:
        assert refusal is None
    else:
        assert refusal is not None
        assert refusal.reason is TrustReason.OBSERVED
        assert refusal.message == (
            f"AWSAccount prod has driftPolicy Observe, so nothing is written to the inline policy of {ROLE}; it "
            f"differs: removed {SOURCE}"
        )
