"""Other issuers than the cluster's own: whether the account has the OIDC provider that their statements name.

The providers belong to somebody else, so they are only looked at. A statement that names one which is not there lets
nobody in and does no harm; so it is written all the same, and the binding is told what is lacking.
"""

from __future__ import annotations

from collections.abc import Iterable

from trustbind.accounts import AwsAccount
from trustbind.arns import RoleArn
from trustbind.bindings import BindingRef
from trustbind.plan import Refusal
from trustbind.statements import FederatedKey
from trustbind_operator.accounts import Accounts
from trustbind_operator.desired import Verdict
from trustbind_operator.failures import account_failure
from trustbind_operator.iam import AccountAccess

__all__ = ["hindered"]


def hindered(
    verdicts: Iterable[Verdict], accounts: Accounts, account: AwsAccount, access: AccountAccess, role: RoleArn
) -> dict[BindingRef, Refusal]:
    """Return for which bindings another issuer's provider is not as it should be, and what each is to be told.

    Blocks while it asks AWS, and never raises for what AWS says.
    """
    found: dict[BindingRef, Refusal] = {}
    for verdict in verdicts:
        for key in (claim.key for claim in verdict.claims if isinstance(claim.key, FederatedKey)):
            error = accounts.lacks_for(account, access, key.issuer.provider_for(role), key.audience)
            if error is not None:
                found.setdefault(verdict.entry.ref, Refusal(verdict.entry.ref, *account_failure(error)))
    return found
