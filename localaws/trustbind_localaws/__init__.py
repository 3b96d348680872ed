"""An AWS on this machine, as strict as trustbind needs it, for tests and for the demo: IAM, STS, EKS's associations.

moto stores the entities; what moto takes on trust is checked here: trust policies, their size and their principals,
the permissions of callers, web identity tokens, sessions. Signatures of calls are not verified.

Reading order is data flow: ``http`` (server, dispatcher) -> ``state`` (credentials, faults) -> ``services`` (IAM, STS,
EKS) -> ``rules`` (trust policies, identity policies) and ``tokens`` -> ``state`` (what is stored). `LocalAws` has the
settings of a test; ``http.control_api`` offers the same over HTTP.

Where it differs from AWS:

- Signatures of requests are not verified.
- An account's root may assume roles that trust its account; AWS refuses that to root users.
- Identity policies: statements with conditions never match, but for those on iam:PassedToService; permissions
  boundaries, session policies, service control policies and groups are not looked at.
- Any 12-digit account id is a valid principal; AWS refuses accounts that do not exist.
- An issuer's keys are registered, not fetched; thumbprints are stored and not used.
- Roles below /aws-service-role/ can be created with CreateRole, and are unmodifiable from then on.
- Throttling and eventual consistency are only what was asked for, the latter only for trust policies. The quotas
  checked are trust policy length, providers per account, client ids and thumbprints per provider.
- moto's own gaps remain elsewhere: tags of users are not shown, role names differ by case.
- EKS clusters are only names. EKS's agent is not there; the call by which it gets credentials for a pod is answered.
  The external ids of associations are random.
- Error codes are AWS's. Messages are AWS's where they are known, else written to read like them: match on codes.
- Stored trust policies come back with account ids as root ARNs and condition keys sorted. IAM changes form too, but in
  which order it lists keys is not documented.
"""

from trustbind_localaws.local_aws import LocalAws
from trustbind_localaws.state.call_log import CallRecord, DecisionRecord
from trustbind_localaws.tokens.service_account_token import TokenIssuer

__all__ = ["CallRecord", "DecisionRecord", "LocalAws", "TokenIssuer"]
