"""Reasons: one constant each, and the same string in skips, conditions, events, metrics and documents."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["SkipReason", "TrustReason"]


class SkipReason(StrEnum):
    """Why a pod was not injected (the webhook's audit annotation, log, metric and preview).

    Each member's docstring is its meaning and, after "Remedy:", what to do; docs/reference/conditions.md is made of
    them.
    """

    NOT_BOUND = "NotBound"
    """Neither an annotation nor a binding gives the pod's account a role. The everyday case. Remedy: none needed; for
    a role, annotate the service account or create a RoleBinding that names it."""
    ALREADY_INJECTED = "AlreadyInjected"
    """Everything that would be added is there. Remedy: none needed."""
    ACCOUNT_NOT_FOUND = "AccountNotFound"
    """The service account does not exist, as far as the API server says. Remedy: create the service account before
    the pod, then create the pod anew."""
    LOOKUP_FAILED = "LookupFailed"
    """The service account is not in the cache and could not be read in time; or a watch is late, and account and
    bindings could not be read. Remedy: create the pod anew; when it happens often, see the webhook's log, its metric
    trustbind_webhook_watch_behind_seconds and its lookup settings."""
    INVALID_ROLE_ARN = "InvalidRoleArn"
    """The annotation is not the ARN of an IAM role. Remedy: correct the service account's annotation, then create the
    pod anew."""
    OPTED_OUT = "OptedOut"
    """The pod or its account says ``trustbind.dev/inject: "false"``. Remedy: none needed; to have it injected, remove
    that annotation."""
    VOLUME_CONFLICT = "VolumeConflict"
    """A volume with our name holds something else. Remedy: rename that volume in the pod's template."""
    CONFIG_TOO_LARGE = "ConfigTooLarge"
    """The AWS config file of the account's profiles does not fit into the pod's annotations, and the API server would
    refuse the pod. Remedy: bind the account to fewer roles, then create the pod anew."""
    MIRROR_POD = "MirrorPod"
    """A static pod's mirror, which the kubelet runs as it is and which may not use tokens. Remedy: none; run the
    workload as an ordinary pod when it needs a role."""
    WEBHOOK_NOT_CALLED = "WebhookNotCalled"
    """A label of the pod's Namespace, or the MutatingWebhookConfiguration, leaves the pod out. Remedy: where the pod
    needs a role, remove the label, or change the chart's ``webhook.mutating``; then create the pod anew."""
    NOT_UNDERSTOOD = "PodNotUnderstood"
    """The object is not a Pod that this version can read, or it has more than 1,000 containers. Remedy: see the message
    for the field; if the API server takes the pod without the webhook, report it as a defect."""
    NOT_A_POD_CREATION = "NotAPodCreation"
    """The review is about something else than the creation of a pod. Remedy: let the webhook's configuration send
    only the creation of pods."""
    INTERNAL_ERROR = "InternalError"
    """Deciding about the pod failed, and it was let through without a role: a defect of ours. Remedy: report it with
    the trace in the webhook's log."""


class TrustReason(StrEnum):
    """Why trust is, or is not, as a binding asks (conditions, events, plans, metrics).

    Each member's docstring is its meaning and, after "Remedy:", what to do; docs/reference/conditions.md is made of
    them.
    """

    # As it should be
    APPLIED = "TrustApplied"
    """The role's trust policy holds the statement. With EKS Pod Identity: EKS has the associations, or only the pods
    are seen to. Remedy: none needed."""
    GRANTED = "Granted"
    """A RoleGrant covers the binding. Remedy: none needed."""
    ACCOUNT_READY = "AccountReady"
    """The account can be reached and its OIDC provider is as it should be. Remedy: none needed."""
    SURVEY_DENIED = "SurveyDenied"
    """The manager role may not list roles, so drift is found late: each role is read alone, at its resync. Remedy:
    Allow iam:ListRoles to the manager role."""
    ROLES_OUTSIDE_PATH = "RolesOutsidePath"
    """Bound roles are not below spec.rolePathPrefix, so the survey reads each of them alone. Remedy: widen
    spec.rolePathPrefix, or remove it."""
    PENDING = "Pending"
    """A step on the way. A RoleBinding: one role of its chain is done and the other is next. An AWSAccount: it is being
    deleted, and kept while bindings need it for revoking their trust. Remedy: wait; for an AWSAccount, delete the
    bindings that the message counts."""

    MASS_REVOCATION = "MassRevocation"
    """An AWSAccount: so much is to be revoked at once that nothing is revoked in this AWS account. Remedy: restore what
    was deleted, or allow it: change the annotation trustbind.dev/revocation-allowed-at of the AWSAccount."""
    REVOCATION_PAUSED = "RevocationPaused"
    """A RoleBinding: its trust is to be revoked, and stays for now, since revocation is paused in the AWS account.
    Remedy: see the condition RevocationPaused of the AWSAccount."""

    # The binding itself
    INVALID_SPEC = "InvalidSpec"
    """The binding asks for something that cannot be written. Remedy: correct the field that the message names."""
    NO_SUBJECTS = "NoSubjects"
    """The binding's selector matches no service account. Remedy: create the account, or correct the selector."""
    PROFILE_CONFLICT = "ProfileConflict"
    """An older binding already claims the profile for this account; by EKS Pod Identity an account has one role,
    whatever the profiles. Remedy: remove one of the two, or give this one another spec.profile."""
    # Who may bind what
    NOT_GRANTED = "NotGranted"
    """No RoleGrant covers the binding. Remedy: a cluster administrator creates or widens a RoleGrant."""
    SHARED_SOURCE = "SharedSourceRole"
    """The binding's role is, or would be, the source role of chains, and another namespace has it: one of the two would
    get a target role that is not granted to it. The older binding stays. Remedy: use a source role for each namespace,
    or let a cluster administrator grant every target to every namespace that shares the source role."""
    PROTECTED_ROLE = "ProtectedRole"
    """The role is an AWSAccount's manager role, the operator's own, or carries the tag trustbind.dev/protected, so no
    binding may name it, whatever its grants say. Remedy: bind another role."""
    TOO_MANY = "TooManyBindings"
    """The namespace has more RoleBindings, or they name more service accounts, than its grants allow; the older ones
    stay as they are. Remedy: delete bindings that are not needed, or let a cluster administrator raise maxBindings or
    maxSubjects of the RoleGrant."""
    NO_CONSENT = "NoRoleConsent"
    """The account asks for the role's consent, and the role does not carry the tag. Remedy: tag the role with
    trustbind.dev/namespaces and the namespace in its value."""

    # The account
    ACCOUNT_UNKNOWN = "AccountUnknown"
    """No AWSAccount says how to reach the role's account. Remedy: create the AWSAccount that the message shows."""
    ACCOUNT_DUPLICATE = "AccountDuplicate"
    """Another, older AWSAccount has the same account id. Remedy: remove one of them."""
    ACCOUNT_UNREACHABLE = "AccountUnreachable"
    """There was no answer from AWS. Remedy: check network, endpoint and credentials of the operator; trustbind
    retries automatically."""
    ACCOUNT_DENIED = "AccountAccessDenied"
    """The manager role cannot be assumed. Remedy: check its trust policy, the external id, and the operator's own
    permission to assume it."""
    ACCOUNT_MISMATCH = "AccountMismatch"
    """The credentials lead into another account than the AWSAccount says. Remedy: set spec.managerRoleArn."""
    PROVIDER_MISSING = "ProviderMissing"
    """The account's OIDC provider, of the cluster or of an issuer in spec.federatedSubjects, is missing or lacks an
    audience, and is not ours to manage. Remedy: create it or add the client id; for the cluster's own, set
    spec.oidcProvider.manage: true."""

    # The role and its document
    ROLE_NOT_FOUND = "RoleNotFound"
    """There is no such role. Remedy: create the role, or correct spec.roleArn in a new binding."""
    ACCESS_DENIED = "AccessDenied"
    """The manager role may not read or edit the role. Remedy: give it iam:GetRole and iam:UpdateAssumeRolePolicy on
    the role."""
    THROTTLED = "Throttled"
    """AWS answers that there are too many calls. Remedy: none; trustbind retries automatically, more slowly."""
    POLICY_REJECTED = "PolicyRejected"
    """IAM refused the document. Remedy: see IAM's message; most often another statement of the document is broken."""
    TRUST_POLICY_FULL = "TrustPolicyFull"
    """The document would be longer than the account allows. Remedy: remove a binding or another statement, use a
    second role, or raise the quota 'Role trust policy length'."""
    SOURCE_POLICY_FULL = "SourcePolicyFull"
    """The source role's inline policies have no room for another target. Remedy: remove a chain over that role or
    another inline policy of it, use a second source role, or with method AssumeRole set spec.source.managePermission:
    false and allow it by a managed policy."""
    NEAR_LIMIT = "NearLimit"
    """The document is longer than 80 % of what the account allows. Remedy: plan for a second role or a higher
    quota."""
    HAND_WRITTEN = "HandWrittenSubjects"
    """A statement of the source role's trust policy that trustbind did not write trusts service accounts of this
    cluster, and with the source role they get the targets of its chains. Remedy: remove them from that statement, or
    use a source role of the chain's own."""
    ADOPTED = "StatementsAdopted"
    """Hand-written statements were replaced by the binding's own, which gives the same answers; status.adopted has
    them. Remedy: none needed; take them out of the tool that wrote them."""
    ADOPTION_PENDING = "AdoptionPending"
    """A hand-written statement is about to be replaced, and stands until the binding's own statement can be written.
    Remedy: see the condition Ready."""
    ADOPTION_DIFFERS = "AdoptionDiffers"
    """A hand-written statement names service accounts of the binding and does not give the same answers as the
    binding's own, so it stays. Remedy: change the statement or the binding so that both say the same, or leave both."""
    ADOPTION_CONTESTED = "AdoptionContested"
    """Another writer keeps writing back a statement that the binding replaced, so it stays. Remedy: take it out of the
    tool that writes it, then create the binding anew."""
    ADOPTION_NEEDS_OPERATOR = "AdoptionNeedsOperator"
    """The command line does not replace hand-written statements: a status has to record them first. Remedy: give the
    manifest to the cluster with kubectl apply, or remove spec.adopt."""
    OUT_OF_SCOPE = "OutOfScope"
    """The role trusts the binding's service accounts, and the webhook is not called for pods of their namespace, so
    they get no role. Remedy: see the message; change the Namespace's labels, or the chart's webhook.mutating."""
    STALE_PRINCIPAL = "StalePrincipal"
    """A foreign statement names a principal that was deleted, and IAM would refuse any write. Remedy: correct or
    remove the statement that the message names."""
    FOREIGN_STATEMENT_REFUSED = "ForeignStatementRefused"
    """A foreign statement breaks a rule that IAM checks at each write of the document, whoever wrote the statement, so
    IAM would refuse any write; for example a shared OIDC provider without the claim that IAM demands. Remedy: correct
    or remove the statement that the message names."""
    SID_TAKEN = "SidTaken"
    """Another statement has the Sid that this binding's statement needs. Remedy: rename the Sid of the statement that
    the message names, or remove that statement; where the message names none, change the binding's audience or
    conditions."""
    TRUST_CONTENDED = "TrustContended"
    """Another writer keeps undoing what was written. Remedy: find it (CloudTrail: UpdateAssumeRolePolicy) and let it
    leave statements alone whose Sid begins with Trustbind."""
    OBSERVED = "DriftObserved"
    """The account is only watched: the difference is told and nothing is written. Remedy: set driftPolicy: Repair, or
    make the change by hand."""
    # EKS Pod Identity
    UNTRUSTED = "PodIdentityUntrusted"
    """The role's trust policy does not let EKS Pod Identity in (pods.eks.amazonaws.com) for an account of the binding.
    Remedy: add the statement that the message shows, or correct the condition that it names."""
    ASSOCIATION_TAKEN = "AssociationTaken"
    """EKS has an association of the service account with another role already, and somebody else made it. An account
    has one. Remedy: delete that association, or take the account out of the binding."""
    CLUSTER_NOT_FOUND = "EksClusterNotFound"
    """EKS has no cluster of that name in that account and region, or spec.targetRoleArn is set and the AWSAccount names
    no cluster. Remedy: correct spec.eks of the AWSAccount."""
    AWS_FAILED = "AwsFailed"
    """AWS failed a call for a reason that is none of the others. Remedy: see the message; it is tried again."""

    # Sets
    BINDINGS_READY = "BindingsReady"
    """A RoleBindingSet: every namespace that it selects has its RoleBinding, and all of them are Ready. Remedy: none
    needed."""
    BINDINGS_NOT_READY = "BindingsNotReady"
    """A RoleBindingSet: RoleBindings of it are not Ready, or could not be written. Remedy: see the message; the
    conditions of the RoleBindings that it names say why."""
    NAME_TAKEN = "NameTaken"
    """A RoleBindingSet: a namespace has a RoleBinding with the name of the set's that the set does not own, and the
    operator leaves it alone. Remedy: delete that RoleBinding, or create a set with another name."""
    SETS_DISABLED = "SetsDisabled"
    """A RoleBindingSet: the operator makes no RoleBindings for sets. Remedy: set the operator's
    roleBindingSets.enabled (in the chart operator.settings.roleBindingSets.enabled), which also gives it the rights."""
    NO_NAMESPACES = "NoNamespaces"
    """A RoleBindingSet: no namespace has the labels of its selector. Remedy: label the namespaces, or correct
    spec.namespaceSelector."""

    STRAY_NAMESPACE = "StrayNamespace"
    """The pattern of a RoleBindingSet matches a namespace that the set does not select, so nothing new is granted by
    it; what stands stays, unless the set has onStray: Revoke. Remedy: label or delete the namespace that the message
    names, or change the pattern."""
    OUTSIDE_PATTERN = "OutsidePattern"
    """A RoleBinding of a RoleBindingSet with subjects: Pattern: the set selects its namespace, whose name does not
    match the pattern, so nothing new is granted there. Remedy: take the label off the namespace, or use another
    pattern."""
    PATTERN_UNGUARDED = "PatternUnguarded"
    """No ValidatingAdmissionPolicy keeps namespaces from matching the pattern of a RoleBindingSet without its labels,
    so nothing new is granted by it; what stands stays, unless the set has onStray: Revoke. A policy that cannot be read
    revokes nothing. Remedy: set the chart's admissionPolicies.namespacePatterns: true, or use subjects: Exact."""

    # The end
    REVOKED = "TrustRevoked"
    """The binding's statement is gone from the trust policy, or its associations from EKS. Remedy: none needed."""
    RETAINED = "TrustRetained"
    """The binding is gone and its trust was left, as it asked for. Remedy: none needed. The trust goes with its grant,
    or with a binding that asks for the same and is deleted with Revoke; an association in EKS is removed by hand."""

    RESTORED = "TrustRestored"
    """The binding is gone, and the hand-written statements that it had replaced stand again. Remedy: none needed."""

    # Pods
    WAITING = "WaitingForTrust"
    """The pod is held at its scheduling gate until the bindings that it needs are Ready. Remedy: see the message; the
    binding that it names says why it is not Ready."""
    RELEASED = "TrustReady"
    """The pod's bindings are Ready, and its gate is gone. Remedy: none needed."""
    WAITED_TOO_LONG = "WaitedTooLong"
    """The pod waited longer than it should. Remedy: see the message; what then happens is the setting
    pods.releaseLate."""
    MISSED = "PodMissed"
    """The pod runs without what its account is bound to: the webhook was down, or the binding came later. Remedy:
    delete the pod, so that it is created again; or let the operator evict such pods (pods.evictMissed)."""
