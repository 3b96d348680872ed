"""The adapter to AWS: over HTTP against the strict local AWS, and the translation of what boto raises."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import botocore.exceptions
import pytest

from support.target_account import ISSUER, ONE_TRY, OPEN, OPS, PROVIDER, ROLE, TARGET, access, as_root, trust
from support.virtual_time import run_virtually
from trustbind.api.identity_context import ContextKey, IdentityContext
from trustbind.backoff import Backoff
from trustbind.errors import (
    AWS_CODES,
    AccessDeniedError,
    AwsError,
    NotFoundError,
    PolicyRejectedError,
    ThrottledError,
    UnreachableError,
)
from trustbind.identity.arns import RoleArn
from trustbind.policy.trust_document import TrustDocument, raw_policy
from trustbind_aws.call_limiter import CallLimiter
from trustbind_aws.calls import CallSettings, retrying, translated
from trustbind_aws.client import AccountClient
from trustbind_aws.permits import NotLeadingError, StaleReadError, WritePermit
from trustbind_aws.sessions import AwsSessions
from trustbind_localaws import LocalAws
from trustbind_localaws.rules import trust_policy
from trustbind_localaws.state.faults import DroppedError

T = TypeVar("T")

FREE: Final = WritePermit(float("inf"))
WRITE: Final = "UpdateAssumeRolePolicy"
THREE_TRIES: Final = CallSettings(reads=Backoff(0.0, 0.0, tries=3))


async def write(
    client: AccountClient, document: TrustDocument, permit: WritePermit = FREE, role: RoleArn = ROLE
) -> None:
    """Replace the role's trust policy."""
    async with client.limiter.slot(1) as slot:
        await client.write_trust_policy(role, document.to_json(), permit, slot)


async def write_inline(client: AccountClient, text: str | None, permit: WritePermit = FREE, name: str = "ours") -> None:
    """Replace an inline policy of the role, or delete it."""
    async with client.limiter.slot(1) as slot:
        await client.write_role_policy(ROLE, name, text, permit, slot)


def document(*statements: dict[str, Any]) -> TrustDocument:
    """Return a trust document."""
    return TrustDocument.parse(trust(*statements))


def test_read(aws: LocalAws) -> None:
    """Document, session length and tags; the bare name is sent, the whole ARN is compared."""
    as_root().tag_role(RoleName="app", Tags=[{"Key": "trustbind.dev/namespaces", "Value": "team-a"}])

    seen = asyncio.run(access(clock=lambda: 7.0).role(ROLE))

    assert [s["Sid"] for s in seen.document.statements] == ["Ops"]
    assert seen.max_session_seconds == 7200
    assert seen.tags == {"trustbind.dev/namespaces": "team-a"}
    assert seen.answered_at == 7.0
    assert len(aws.calls(TARGET, "GetRole")) == 1


@pytest.mark.usefixtures("aws")
def test_no_such_role() -> None:
    """The error names it."""
    with pytest.raises(NotFoundError, match="role/team-a/other") as caught:
        asyncio.run(access().role(RoleArn.parse(f"arn:aws:iam::{TARGET}:role/team-a/other")))
    assert caught.value.code == "NoSuchEntity"


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("path", ["/", "/team-b/"])
def test_role_under_another_path(path: str) -> None:
    """IAM finds a role by its bare name; one with another path is not the role that is meant."""
    with pytest.raises(NotFoundError, match=f"the role named app is {ROLE}") as caught:
        asyncio.run(access().role(RoleArn("aws", TARGET, path, "app")))
    assert caught.value.code == "NoSuchEntity"


@pytest.mark.usefixtures("aws")
def test_write() -> None:
    """The whole document is replaced."""
    wanted = document(OPS, {"Sid": "More", **OPEN})
    client = access()
    asyncio.run(write(client, wanted))
    assert asyncio.run(client.role(ROLE)).document.meaning() == wanted.meaning()


VERBATIM: Final = (
    '{"Effect":"Allow","Sid":"Odd","Action":"sts:AssumeRole","Principal":{"AWS":"arn:aws:iam::111122223333:root"},'
    '"Condition":{"NumericLessThan":{"aws:MultiFactorAuthAge":[3.60e3,12345678901234567890.10]},'
    '"StringEquals":{"aws:PrincipalTag/\\u0061":"caf\\u00e9 \\/ x","aws:PrincipalTag/b":"a+b%20c&d"}}}'
)
"""Numbers, escapes and a key order that no JSON library writes as they are."""
TWICE: Final = (
    '{"Sid":"F","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"sts:AssumeRole",'
    '"Condition":{"StringNotEquals":{"aws:SourceOrgID":"o-1"},"StringNotEquals":{"aws:SourceAccount":"1"}}}'
)
"""A key that stands twice: a decoder shows the second alone, and a document without the first admits others."""
LONE_SURROGATE: Final = VERBATIM.replace("caf\\u00e9", "\\ud800")
LONG: Final = VERBATIM.replace("3.60e3", "1" * 1200)


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    "statement",
    [VERBATIM, TWICE, LONE_SURROGATE, LONG],
    ids=["odd", "a key twice", "a lone surrogate", "a long number"],
)
def test_foreign_statement_is_kept_in_its_characters(statement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK would decode the policies; what IAM returned is sent back verbatim, also after many writes."""
    monkeypatch.setattr(trust_policy, "check", lambda text, **_: text)  # which writes the JSON anew
    as_root().update_assume_role_policy(
        RoleName="app", PolicyDocument=f'{{"Version":"2012-10-17","Statement":[{statement}]}}'
    )
    client = access()
    for number in range(3):
        seen = asyncio.run(client.role(ROLE)).document
        asyncio.run(write(client, seen.with_statements((*seen.statements, {"Sid": f"More{number}", **OPEN}))))

    text = asyncio.run(client.role(ROLE)).document.text
    assert text.count(statement) == 1
    assert len(TrustDocument.parse(text, stored=True).statements) == 4


@pytest.mark.usefixtures("aws")
def test_inline_policy() -> None:
    """Its text is returned as IAM sent it; deleting one that is not there succeeds."""
    client = access()
    text = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}'
    assert asyncio.run(client.role_policy(ROLE, "ours"))[0] is None
    asyncio.run(write_inline(client, text))
    found, _ = asyncio.run(client.role_policy(ROLE, "ours"))
    assert found is not None
    assert raw_policy(found) == text
    asyncio.run(write_inline(client, None))
    asyncio.run(write_inline(client, None))
    assert asyncio.run(client.role_policy(ROLE, "ours"))[0] is None


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ({**OPS, "Principal": {"AWS": f"arn:aws:iam::{TARGET}:role/nobody"}}, "MalformedPolicyDocument"),
        ({**OPS, "Sid": "a b"}, "MalformedPolicyDocument"),
        ({**OPS, "Condition": {"StringEquals": {"aws:PrincipalTag/x": ["y" * 100] * 30}}}, "LimitExceeded"),
    ],
)
def test_rejected(statement: dict[str, Any], code: str) -> None:
    """IAM's own refusal of the document."""
    with pytest.raises(PolicyRejectedError) as caught:
        asyncio.run(write(access(), document(statement)))
    assert caught.value.code == code
    assert caught.value.operation == f"iam:UpdateAssumeRolePolicy on {ROLE}"


@pytest.mark.usefixtures("aws")
def test_role_of_aws_itself() -> None:
    """A service-linked role cannot be edited."""
    role = RoleArn.parse(f"arn:aws:iam::{TARGET}:role/aws-service-role/x/AWSServiceRole")
    with pytest.raises(AccessDeniedError) as caught:
        asyncio.run(write(access(), document(OPS), role=role))
    assert caught.value.code == "UnmodifiableEntity"


def test_denied_throttled_and_unreachable(aws: LocalAws) -> None:
    """Each is its own class, with AWS's code, and says which call on what."""
    client = access()
    aws.deny(TARGET, ["GetRole"])
    with pytest.raises(AccessDeniedError, match=f"iam:GetRole on {ROLE}") as denied:
        asyncio.run(client.role(ROLE))
    assert denied.value.code == "AccessDenied"
    aws.clear_faults()
    aws.throttle(TARGET)
    with pytest.raises(ThrottledError, match="Rate exceeded") as throttled:
        asyncio.run(client.role(ROLE))
    assert throttled.value.code == "Throttling"
    aws.clear_faults()
    aws.unreachable(TARGET)
    with pytest.raises(UnreachableError, match="no answer from AWS") as unreachable:
        asyncio.run(client.role(ROLE))
    assert unreachable.value.code == ""
    aws.clear_faults()
    aws.unreachable(TARGET, on=False)
    asyncio.run(client.role(ROLE))


def test_read_is_tried_again(aws: LocalAws) -> None:
    """Each try is a call of its own in the budget; outside a slot only."""
    aws.throttle(TARGET, ["GetRole"], count=2)
    client = access(settings=THREE_TRIES)

    asyncio.run(client.role(ROLE))

    assert len(aws.calls(TARGET, "GetRole")) == 3
    aws.reset_calls()
    aws.throttle(TARGET, ["GetRole", "GetRolePolicy"])

    async def in_slot(read: Callable[..., Any], *arguments: Any) -> None:
        async with client.limiter.slot(2) as slot:
            await read(*arguments, slot)

    for read, arguments in ((client.role, (ROLE,)), (client.role_policy, (ROLE, "ours"))):
        with pytest.raises(ThrottledError):
            asyncio.run(in_slot(read, *arguments))
    assert len(aws.calls(TARGET, "GetRole")) == len(aws.calls(TARGET, "GetRolePolicy")) == 1


@pytest.mark.parametrize("fault", ["throttled", "dropped", "dropped after its effect"])
def test_write_is_sent_once(aws: LocalAws, fault: str) -> None:
    """Neither botocore nor we send it again, whatever the environment asks for: its read would be old."""
    wanted = document(OPS, {"Sid": "More", **OPEN})

    def drop(_account: str, _role: str) -> None:
        if "effect" in fault:
            as_root().update_assume_role_policy(RoleName="app", PolicyDocument=wanted.to_json())
            aws.reset_calls()
        raise DroppedError

    if fault == "throttled":
        aws.throttle(TARGET, [WRITE])
    else:
        aws.before_write(drop)

    with pytest.raises(ThrottledError if fault == "throttled" else UnreachableError, match=f"{WRITE} on {ROLE}"):
        asyncio.run(write(access(settings=THREE_TRIES), wanted))

    assert len(aws.calls(TARGET, WRITE)) == 1
    sids = [s.get("Sid") for s in asyncio.run(access().role(ROLE)).document.statements]
    assert sids == (["Ops", "More"] if "effect" in fault else ["Ops"])


def test_write_that_gets_no_answer_in_time(aws: LocalAws) -> None:
    """It is sent once, and may take effect later."""
    release = threading.Event()

    def wait(_account: str, _role: str) -> None:
        release.wait(60)

    aws.before_write(wait)
    client = access(settings=CallSettings(read_timeout=0.2, reads=ONE_TRY.reads))

    with pytest.raises(UnreachableError, match="no answer from AWS: Read timeout"):
        asyncio.run(write(client, document(OPS, {"Sid": "More", **OPEN})))

    release.set()
    for _ in range(600):
        if aws.calls(TARGET, WRITE):
            break
        threading.Event().wait(0.05)
    assert len(aws.calls(TARGET, WRITE)) == 1


class LateLimiter(CallLimiter):
    """Lets time pass between the moment when a thread is taken and that when it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.pause = 0.0

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run ``work`` late."""

        def late() -> T:
            self.now += self.pause
            return work()

        return await super().in_thread(late)


@pytest.mark.parametrize(
    "written",
    [WRITE, "PutRolePolicy", "DeleteRolePolicy", "CreateOpenIDConnectProvider", "UpdateOpenIDConnectProvider"],
)
@pytest.mark.parametrize("error", [NotLeadingError, StaleReadError])
def test_permit_is_checked_in_the_thread(aws: LocalAws, written: str, error: type[AwsError]) -> None:
    """A thread that wakes up late sends nothing; the permit was good when it was taken."""
    limiter = LateLimiter()
    client = access(limiter=limiter, clock=lambda: limiter.now)
    until, read_at = (105.0, None) if error is NotLeadingError else (1000.0, 100.0)
    permit = WritePermit(until, read_at, 5.0, lambda: limiter.now)
    send: Callable[[], Coroutine[Any, Any, object]] = {
        WRITE: lambda: write(client, document(OPS), permit),
        "PutRolePolicy": lambda: write_inline(client, "{}", permit),
        "DeleteRolePolicy": lambda: write_inline(client, None, permit),
        "CreateOpenIDConnectProvider": lambda: client.create_provider(ISSUER, frozenset({"a"}), permit),
        "UpdateOpenIDConnectProvider": lambda: client.write_provider_context(PROVIDER, IdentityContext("sub"), permit),
    }[written]
    limiter.pause = 5.001

    with pytest.raises(error, match=written):
        asyncio.run(send())

    assert aws.calls(TARGET, written) == []


@pytest.mark.usefixtures("aws")
def test_age_of_a_read_begins_in_the_thread() -> None:
    """Time that the event loop needs to take the answer counts, also for a policy that is not there."""
    limiter = CallLimiter()
    loop_thread = threading.get_ident()
    client = access(limiter=limiter, clock=lambda: 50.0 if threading.get_ident() == loop_thread else 1.0)

    async def play() -> list[float]:
        async with limiter.slot(3) as slot:
            role = await client.role(ROLE, slot)
            absent = await client.role_policy(ROLE, "ours", slot)
        await write_inline(client, '{"Version":"2012-10-17","Statement":[]}'.replace("[]", json.dumps([_ALLOW])))
        present = await client.role_policy(ROLE, "ours")
        return [role.answered_at, absent[1], present[1]]

    assert asyncio.run(play()) == [1.0, 1.0, 1.0]


_ALLOW: Final = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}


@pytest.mark.parametrize(("now", "error"), [(9.99, None), (10.0, NotLeadingError), (8.51, StaleReadError), (8.5, None)])
def test_permit(now: float, error: type[AwsError] | None) -> None:
    """Good before its end, and while the read is no older than its bound."""
    read_at = 8.0 if now < 9 else None
    permit = WritePermit(10.0, read_at, 0.5, lambda: now)
    if error is None:
        permit.check("iam:X")
        return
    with pytest.raises(error, match="iam:X"):
        permit.check("iam:X")


@pytest.mark.usefixtures("aws")
def test_unknown_credentials() -> None:
    """A key that AWS does not know."""
    with pytest.raises(AccessDeniedError) as caught:
        asyncio.run(access(aws_access_key_id="AKIAEXAMPLE").caller())
    assert caught.value.code == "InvalidClientTokenId"


async def call_directly() -> None:
    """Ask who the operator is."""
    await (await AwsSessions("who", settings=ONE_TRY).direct(CallLimiter())).caller()


@pytest.mark.usefixtures("aws")
def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says what to set."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(UnreachableError, match="there are no AWS credentials: set AWS_PROFILE"):
        asyncio.run(call_directly())


def test_no_certificates(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CA bundle that is not there is no answer from AWS, in one sentence that says what cannot be read."""
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nonexistent/ca.pem")
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.url.replace("http:", "https:"))
    with pytest.raises(UnreachableError, match="No such file"):
        asyncio.run(call_directly())


@pytest.mark.parametrize("code", [*AWS_CODES, "SomethingNew", ""])
def test_every_code_is_translated(code: str) -> None:
    """To the class that is written down for it; one that is not, to the base. AWS's message stays."""
    answer = {"Error": {"Code": code, "Message": "said"}}
    with pytest.raises(AwsError) as caught, translated("iam:X"):
        raise botocore.exceptions.ClientError(answer, "X")
    assert type(caught.value) is AWS_CODES.get(code, AwsError)
    assert (caught.value.code, caught.value.problem, caught.value.operation) == (code, "said", "iam:X")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({}, "AWS gave no reason"),
        ({"Error": {"Code": "Odd"}}, "Odd"),
        ({"Error": {"Code": "", "Message": "said"}}, "said"),
    ],
)
def test_answers_without_a_message(answer: dict[str, Any], problem: str) -> None:
    """There is always a sentence."""
    with pytest.raises(AwsError) as caught, translated("iam:X"):
        raise botocore.exceptions.ClientError(answer, "X")
    assert caught.value.problem == problem


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (botocore.exceptions.NoRegionError(), "set AWS_REGION"),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="https://x"), "https://x"),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="https://x"), "no answer from AWS"),
        (botocore.exceptions.ProfileNotFound(profile="p"), "p"),
    ],
)
def test_what_never_reached_aws(error: Exception, said: str) -> None:
    """Network, configuration and credentials."""
    with pytest.raises(UnreachableError, match=said), translated("iam:X"):
        raise error


def test_defects_are_not_translated() -> None:
    """Only what boto raises is."""
    with pytest.raises(KeyError), translated("iam:X"):
        raise KeyError("x")


def test_pauses_between_tries() -> None:
    """The pauses double, with jitter, and the error of the last try goes up; other errors go up at once."""
    tries: list[float] = []

    async def play(error: AwsError) -> float:
        loop = asyncio.get_running_loop()

        async def fail() -> None:
            tries.append(loop.time())
            raise error

        with pytest.raises(type(error)):
            await retrying(fail, Backoff(1.0, 10.0, tries=3), lambda: 1.0)
        return loop.time()

    for error in (ThrottledError("slow"), UnreachableError("no answer")):
        tries.clear()
        assert run_virtually(play(error)) == pytest.approx(3.0)
        assert tries == pytest.approx([0.0, 1.0, 3.0])
    tries.clear()
    run_virtually(play(AccessDeniedError("no")))
    assert tries == [0.0]


def test_limit(aws: LocalAws) -> None:
    """The AWS account's quota; AWS's default where it may not be read."""
    aws.set_quota(TARGET, 4096)
    client = access()
    assert asyncio.run(client.trust_policy_limit()) == 4096
    assert len(aws.calls(TARGET, "GetAccountSummary")) == 1
    aws.set_quota(TARGET, 8192)
    assert asyncio.run(client.trust_policy_limit()) == 8192
    aws.deny(TARGET, ["GetAccountSummary"])
    assert asyncio.run(client.trust_policy_limit()) == 2048


@pytest.mark.usefixtures("aws")
def test_limit_with_refused_credentials() -> None:
    """They say nothing about the quota."""
    with pytest.raises(AccessDeniedError):
        asyncio.run(access(aws_access_key_id="AKIAEXAMPLE").trust_policy_limit())


def test_roles(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Roles with their trust policies, page by page, each page one call; or those below a path."""
    admin = as_root()
    for n in range(5):
        admin.create_role(
            RoleName=f"r{n}", Path=f"/p{n}/", AssumeRolePolicyDocument=json.dumps(trust({"Sid": f"S{n}", **OPEN}))
        )
    monkeypatch.setattr("trustbind_aws.client._LIST_PAGE", 3)
    aws.reset_calls()

    async def listed(path: str) -> list[tuple[str, str]]:
        found = [role async for page in access().roles(path) for role in [*page]]
        return [(role.arn, raw_policy(role.policy)) for role in found]

    found = dict(asyncio.run(listed("/")))
    assert len(aws.calls(TARGET, "ListRoles")) == 3
    for n in range(5):
        document = TrustDocument.parse(found[f"arn:aws:iam::{TARGET}:role/p{n}/r{n}"], stored=True)
        assert [s["Sid"] for s in document.statements] == [f"S{n}"]
    assert [arn for arn, _ in asyncio.run(listed("/p3/"))] == [f"arn:aws:iam::{TARGET}:role/p3/r3"]


@pytest.mark.usefixtures("aws")
def test_tags() -> None:
    """All of them, page by page."""
    wanted = {f"key-{n:02}": str(n) for n in range(45)}
    as_root().tag_role(RoleName="app", Tags=[{"Key": key, "Value": value} for key, value in wanted.items()])
    assert asyncio.run(access().role_tags(ROLE)) == wanted


@pytest.mark.usefixtures("aws")
def test_provider() -> None:
    """Absent, created, completed; what is there already is no error."""
    client = access()

    async def play() -> None:
        assert await client.provider_audiences(PROVIDER) is None
        assert await client.create_provider(ISSUER, frozenset({"b", "a"}), FREE)
        assert await client.provider_audiences(PROVIDER) == frozenset("ab")
        assert not await client.create_provider(ISSUER, frozenset({"c"}), FREE)
        for _ in range(2):
            await client.add_audience(PROVIDER, "c", FREE)
        assert await client.provider_audiences(PROVIDER) == frozenset("abc")

    asyncio.run(play())


@pytest.mark.usefixtures("aws")
def test_identity_context() -> None:
    """Given at the creation, read back, and replaced as a whole."""
    client = access()
    context = IdentityContext("sub", "workload", "", (ContextKey("aud", "audience"), ContextKey("iss")))

    async def play() -> None:
        assert await client.provider_context(PROVIDER) is None
        assert await client.create_provider(ISSUER, frozenset({"a"}), FREE, context)
        assert await client.provider_context(PROVIDER) == context
        assert await client.provider_audiences(PROVIDER) == frozenset("a")
        other = IdentityContext("aud", "", "typ")
        await client.write_provider_context(PROVIDER, other, FREE)
        assert await client.provider_context(PROVIDER) == other

    asyncio.run(play())


def test_provider_failures(aws: LocalAws) -> None:
    """A refusal is no absence, and names the call."""
    aws.deny(TARGET, ["GetOpenIDConnectProvider", "CreateOpenIDConnectProvider"])
    client = access()
    with pytest.raises(AccessDeniedError, match=f"iam:GetOpenIDConnectProvider on {PROVIDER}"):
        asyncio.run(client.provider_audiences(PROVIDER))
    with pytest.raises(AccessDeniedError, match=f"iam:CreateOpenIDConnectProvider for {ISSUER}"):
        asyncio.run(client.create_provider(ISSUER, frozenset({"a"}), FREE))
    with pytest.raises(NotFoundError):
        asyncio.run(client.add_audience(PROVIDER, "a", FREE))


def test_every_call_is_counted(aws: LocalAws) -> None:
    """With AWS's code of a failure, or the class where there is none."""
    counted: list[tuple[str, str]] = []
    client = access(lambda *call: counted.append(call))
    asyncio.run(client.caller())
    with pytest.raises(NotFoundError):
        asyncio.run(client.role(RoleArn("aws", TARGET, "/", "nobody")))
    asyncio.run(client.role_policy(ROLE, "ours"))
    with pytest.raises(StaleReadError):
        asyncio.run(write(client, document(OPS), WritePermit(float("inf"), -1e9, 1.0)))
    aws.unreachable(TARGET)
    with pytest.raises(UnreachableError):
        asyncio.run(client.role(ROLE))
    assert counted == [
        ("sts:GetCallerIdentity", ""),
        ("iam:GetRole", "NoSuchEntity"),
        ("iam:GetRolePolicy", "NoSuchEntity"),
        ("iam:UpdateAssumeRolePolicy", "StaleReadError"),
        ("iam:GetRole", "UnreachableError"),
    ]


@pytest.mark.usefixtures("aws")
def test_clients_of_other_services_are_made_one_at_a_time() -> None:
    """A boto3 session is not thread-safe, and many roles ask at once."""
    client = access()
    at_once: list[int] = []
    running = threading.Semaphore(1)
    make = client._session.client

    def slow(*arguments: Any, **named: Any) -> Any:
        at_once.append(0 if running.acquire(blocking=False) else 1)
        try:
            return make(*arguments, **named)
        finally:
            running.release()

    client._session.client = slow

    async def play() -> set[int]:
        regions = ["eu-central-1", "us-east-1"] * 4
        return set(map(id, await asyncio.gather(*(client.client("eks", region) for region in regions))))

    assert len(asyncio.run(play())) == 2
    assert at_once == [0, 0]
