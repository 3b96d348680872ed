"""Facts of the role's AWS account, read with the user's own credentials. Nothing is written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, TypeVar

import botocore.exceptions as boto
from msgspec import structs

from trustbind.diagnosis.facts import (
    AssociationFacts,
    Bundle,
    CallerFacts,
    ChangeFacts,
    DeniedPolicy,
    Fact,
    PermissionFacts,
    ProviderFacts,
    RoleFacts,
    absent,
    known,
    not_visible,
)
from trustbind.diagnosis.model import Wanted
from trustbind.errors import AwsError, InvalidValueError, UnreachableError
from trustbind.identity.arns import ProviderArn, RoleArn
from trustbind.policy.policy_text import raw_policy
from trustbind.policy.trust_document import TrustDocument
from trustbind_aws.call_limiter import CallLimiter
from trustbind_aws.calls import Call
from trustbind_aws.client import AccountClient
from trustbind_cli.aws_access import AwsAccess
from trustbind_cli.aws_errors import own_account, sentence

__all__ = ["read_aws"]

T = TypeVar("T")
Json = Mapping[str, Any]

_HOME: Final = "us-east-1"
"""Where IAM's own events are (CloudTrail User Guide, global service events)."""
_MOST_PAGES: Final = 200
"""Of one list."""
_EVENTS: Final = 50
"""Of one page of LookupEvents, as many as it gives."""
_MOST_PAGES_OF_EVENTS: Final = 10
"""LookupEvents gives two pages a second."""
_NEXT: Final = ("NextToken", "nextToken", "Marker")
"""Where a list goes on: in the answer, and in the next request."""
_ROOT: Final = "r-"
"""How the id of an organization's root begins; it has no parent."""
_KINDS: Final[tuple[tuple[str, Literal["SCP", "RCP"]], ...]] = (
    ("SERVICE_CONTROL_POLICY", "SCP"),
    ("RESOURCE_CONTROL_POLICY", "RCP"),
)


async def read_aws(
    bundle: Bundle, wanted: Wanted, access: AwsAccess, aws_accounts: Iterable[Json], action: str
) -> Bundle:
    """Return the bundle with what AWS says about the role that is wanted.

    Args:
        bundle: with the facts of the cluster.
        wanted: what a pod should have.
        access: the way into AWS.
        aws_accounts: AWSAccounts, which tell the name of the EKS cluster.
        action: that was denied to the workload; empty for none.
    """
    sessions = access.sessions("trustbind-doctor")
    try:
        account = await own_account(sessions)
        limiter = CallLimiter(name=f"aws-{account}")
        client = await sessions.direct(limiter)
        arn = (await client.caller())[1]
    except AwsError as error:
        return structs.replace(bundle, **_nothing(_refused(error)))
    reader = _Reader(client, account, access.region or "")
    facts = await reader.read(bundle, wanted, list(aws_accounts), action)
    return structs.replace(bundle, caller=known(CallerFacts(account, arn)), **facts)


class _Reader:
    def __init__(self, client: AccountClient, account: str, region: str) -> None:
        self._client = client
        self._account = account
        self._region = region

    async def read(self, bundle: Bundle, wanted: Wanted, accounts: Sequence[Json], action: str) -> dict[str, Fact[Any]]:
        web, role = wanted.web_role, wanted.role
        if web is None:
            return {}
        region = self._region or _region_of(bundle) or _HOME
        reads: dict[str, Awaitable[Fact[Any]]] = {
            "role": self._role(web, with_policies=wanted.is_chain),
            "change": self._change(web),
            "organization": self._organization(),
            "endpoints": self._endpoints(region),
        }
        if bundle.issuer.value is not None and not wanted.uses_agent:
            host = bundle.issuer.value.removeprefix("https://")
            reads["provider"] = self._provider(ProviderArn(web.partition, web.account_id, host))
        if role is not None and wanted.is_chain:
            reads["target_role"] = self._role(role, with_policies=False)
        if role is not None and action:
            reads["permission"] = self._permission(role, action)
        if wanted.uses_agent:
            reads["association"] = self._association(bundle, _cluster(accounts, self._account), region)
        return dict(zip(reads, await asyncio.gather(*reads.values()), strict=True))

    async def _role(self, role: RoleArn, *, with_policies: bool) -> Fact[RoleFacts]:
        if role.account_id != self._account:
            return self._elsewhere(role.account_id)
        iam = await self._client.client("iam", _HOME)

        async def read() -> Fact[RoleFacts]:
            answer = await self._client.read(
                Call("iam:GetRole", f" on {role}", iam.get_role, {"RoleName": role.name}, or_none=True)
            )
            if answer is None:
                return absent()
            raw = answer["Role"]
            document = TrustDocument.parse(raw["AssumeRolePolicyDocument"], stored=True).to_json_object()
            policies = await self._inline(iam, role) if with_policies else []
            attached = await self._attached(iam, role) if with_policies else []
            return known(RoleFacts(raw["Arn"], document, int(raw.get("MaxSessionDuration", 3600)), policies, attached))

        return await _fact(read)

    async def _inline(self, iam: Any, role: RoleArn) -> list[dict[str, Any]]:
        names = await self._listed(
            Call("iam:ListRolePolicies", f" on {role}", iam.list_role_policies, {"RoleName": role.name}), "PolicyNames"
        )
        found = []
        for name in names:
            text, _ = await self._client.role_policy(role, name)
            found.append(json.loads(raw_policy(text)) if text else {})
        return found

    async def _attached(self, iam: Any, role: RoleArn) -> list[str]:
        arguments = {"RoleName": role.name}
        call = Call("iam:ListAttachedRolePolicies", f" on {role}", iam.list_attached_role_policies, arguments)
        return [each["PolicyName"] for each in await self._listed(call, "AttachedPolicies")]

    async def _provider(self, provider: ProviderArn) -> Fact[ProviderFacts]:
        if provider.account_id != self._account:
            return self._elsewhere(provider.account_id)
        iam = await self._client.client("iam", _HOME)

        async def read() -> Fact[ProviderFacts]:
            arguments = {"OpenIDConnectProviderArn": str(provider)}
            method = iam.get_open_id_connect_provider
            raw = await self._client.read(
                Call("iam:GetOpenIDConnectProvider", f" on {provider}", method, arguments, or_none=True)
            )
            if raw is None:
                return absent()
            context = raw.get("ContextProvider") or {}
            claims = [context.get("SubjectSourceKey"), context.get("SubjectTypeSourceKey")]
            claims += [each.get("SourceKey") for each in context.get("KeyDefinitionList") or ()]
            return known(
                ProviderFacts(
                    str(provider),
                    list(raw.get("ClientIDList") or ()),
                    list(raw.get("ThumbprintList") or ()),
                    [claim for claim in claims if claim],
                )
            )

        return await _fact(read)

    async def _change(self, role: RoleArn) -> Fact[ChangeFacts]:
        if role.account_id != self._account:
            return self._elsewhere(role.account_id)
        trail = await self._client.client("cloudtrail", _HOME)

        async def read() -> Fact[ChangeFacts]:
            attributes = [{"AttributeKey": "ResourceName", "AttributeValue": role.name}]
            arguments = {"LookupAttributes": attributes, "MaxResults": _EVENTS}
            call = Call("cloudtrail:LookupEvents", f" for {role}", trail.lookup_events, arguments)
            events: list[Json] = []
            pages = 0
            async for page in self._pages(call):  # the newest events come first
                pages += 1
                events = [e for e in page.get("Events") or () if e.get("EventName") == "UpdateAssumeRolePolicy"]
                if events or pages == _MOST_PAGES_OF_EVENTS:
                    break
            if not events and pages == _MOST_PAGES_OF_EVENTS:
                return not_visible(f"CloudTrail has no write of it among the last {pages * _EVENTS} events")
            if not events:
                return not_visible("CloudTrail has no write of it in the last 90 days")
            last = max(events, key=lambda each: each["EventTime"])
            author = json.loads(last.get("CloudTrailEvent") or "{}").get("userIdentity", {}).get("arn", "")
            return known(ChangeFacts(last["EventTime"].isoformat(), author or str(last.get("Username", ""))))

        return await _fact(read)

    async def _permission(self, role: RoleArn, action: str) -> Fact[PermissionFacts]:
        if role.account_id != self._account:
            return self._elsewhere(role.account_id)
        iam = await self._client.client("iam", _HOME)

        async def read() -> Fact[PermissionFacts]:
            arguments = {"PolicySourceArn": str(role), "ActionNames": [action]}
            call = Call("iam:SimulatePrincipalPolicy", f" for {role}", iam.simulate_principal_policy, arguments)
            results = (await self._client.read(call)).get("EvaluationResults") or ()
            if not results:
                return not_visible("the policy simulator gave no answer")
            return known(PermissionFacts(action, str(results[0].get("EvalDecision", ""))))

        return await _fact(read)

    async def _association(self, bundle: Bundle, cluster: str, region: str) -> Fact[AssociationFacts]:
        if not cluster:
            return not_visible("no AWSAccount says which EKS cluster this is (spec.eks)")
        eks = await self._client.client("eks", region)
        account = bundle.pod.value.service_account if bundle.pod.value else bundle.target.name

        async def read() -> Fact[AssociationFacts]:
            arguments = {"clusterName": cluster, "namespace": bundle.target.namespace, "serviceAccount": account}
            method = eks.list_pod_identity_associations
            call = Call("eks:ListPodIdentityAssociations", "", method, arguments)
            for each in await self._listed(call, "associations"):
                one = {"clusterName": cluster, "associationId": each["associationId"]}
                method = eks.describe_pod_identity_association
                answer = await self._client.read(Call("eks:DescribePodIdentityAssociation", "", method, one))
                found = answer["association"]
                return known(AssociationFacts(found.get("roleArn", ""), found.get("targetRoleArn", "") or ""))
            return absent()

        return await _fact(read)

    async def _organization(self) -> Fact[list[DeniedPolicy]]:
        client = await self._client.client("organizations", _HOME)

        async def read() -> Fact[list[DeniedPolicy]]:
            found: list[DeniedPolicy] = []
            targets = [self._account]
            for target in targets:  # it grows by the parents of each
                for kind, name in _KINDS:
                    found += [DeniedPolicy(name, *each) for each in await self._policies_of(client, target, kind)]
                if not target.startswith(_ROOT):
                    arguments = {"ChildId": target}
                    method = client.list_parents
                    call = Call("organizations:ListParents", "", method, arguments)
                    targets += [each["Id"] for each in await self._listed(call, "Parents")]
            return known(found)

        return await _fact(read)

    async def _policies_of(self, client: Any, target: str, kind: str) -> list[tuple[str, dict[str, Any]]]:
        arguments = {"TargetId": target, "Filter": kind}
        method = client.list_policies_for_target
        listed = await self._listed(Call("organizations:ListPoliciesForTarget", "", method, arguments), "Policies")
        found = []
        for each in listed:
            call = Call("organizations:DescribePolicy", "", client.describe_policy, {"PolicyId": each["Id"]})
            found.append((each["Name"], json.loads((await self._client.read(call))["Policy"]["Content"])))
        return found

    async def _endpoints(self, region: str) -> Fact[list[DeniedPolicy]]:
        ec2 = await self._client.client("ec2", region)

        async def read() -> Fact[list[DeniedPolicy]]:
            filters = [{"Name": "service-name", "Values": [f"com.amazonaws.{region}.sts"]}]
            call = Call("ec2:DescribeVpcEndpoints", "", ec2.describe_vpc_endpoints, {"Filters": filters})
            listed = await self._listed(call, "VpcEndpoints")
            return known(
                [
                    DeniedPolicy("VPC endpoint policy", each["VpcEndpointId"], json.loads(each["PolicyDocument"]))
                    for each in listed
                    if each.get("PolicyDocument")
                ]
            )

        return await _fact(read)

    async def _listed(self, call: Call, name: str) -> list[Any]:
        """Return the items of all pages of a list."""
        return [item async for page in self._pages(call) for item in page.get(name) or ()]

    async def _pages(self, call: Call) -> AsyncIterator[Json]:
        """Yield the pages of a list; services name the place to go on at in different ways."""
        arguments = dict(call.arguments)
        for _ in range(_MOST_PAGES):
            page = await self._client.read(replace(call, arguments=dict(arguments)))
            yield page
            name = next((each for each in _NEXT if page.get(each)), None)
            if name is None:
                return
            arguments[name] = page[name]
        raise AwsError(f"the list has more than {_MOST_PAGES} pages", operation=call.operation + call.subject)

    def _elsewhere(self, account: str) -> Fact[Any]:
        return not_visible(f"your credentials are for AWS account {self._account}, not {account}; use --profile")


async def _fact(read: Callable[[], Awaitable[Fact[T]]]) -> Fact[T]:
    """Return a fact, or why AWS did not show it."""
    try:
        return await read()
    except AwsError as error:
        return _refused(error)
    except (boto.BotoCoreError, InvalidValueError, KeyError, TypeError, ValueError) as error:
        why = "the answer of AWS cannot be read"
        return not_visible(why, f"{why} ({error})")


def _refused(error: AwsError) -> Fact[Any]:
    call = error.operation.partition(" ")[0]
    if isinstance(error, UnreachableError):
        why = "AWS cannot be asked: no credentials, or no answer"
    elif error.code and call:
        why = f"AWS answers {call} with {error.code}"
    else:
        why = "AWS refuses to say"
    return not_visible(why, sentence(error))


def _nothing(why: Fact[Any]) -> dict[str, Fact[Any]]:
    names = ("caller", "provider", "role", "target_role", "change", "organization", "endpoints", "permission")
    return dict.fromkeys((*names, "association"), why)


def _region_of(bundle: Bundle) -> str:
    container = bundle.pod.value.container(bundle.target.container) if bundle.pod.value else None
    return (container.value("AWS_REGION") or "") if container else ""


def _cluster(accounts: Iterable[Json], account: str) -> str:
    """Return the name of the EKS cluster, by the AWSAccount of the caller's AWS account; empty for none."""
    for body in accounts:
        spec = body.get("spec") or {}
        if spec.get("accountId") == account and spec.get("eks"):
            return str(spec["eks"].get("clusterName", ""))
    return ""
