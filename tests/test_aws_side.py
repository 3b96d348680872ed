"""The AWS side in manifests/aws: JSON, CloudFormation and Terraform say the same, and it is enough and no more.

The JSON policies are the one source. The templates narrow resources; they never add an action, but for ``HandTagsOn``.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from support.aws_side import AWS, Stack, actions, json_actions, same_form, terraform_actions, terraform_policies
from trustbind.policy.pod_identity import STATEMENT
from trustbind_localaws import LocalAws, TokenIssuer

OPERATOR, TARGET = "111122223333", "444455556666"
ISSUER: Final = "https://oidc.example.com/id/1"
EXTERNAL_ID: Final = "cluster-blue"
OPERATOR_ROLE: Final = f"arn:aws:iam::{OPERATOR}:role/trustbind-operator"
MANAGER_ROLE: Final = f"arn:aws:iam::{TARGET}:role/trustbind-manager"
POD_IDENTITY_ONLY: Final = {"HandTagsOn": {"sts:TagSession"}}
"""Statements beside those of the JSON policies: a session by EKS Pod Identity has transitive tags."""

MANAGER_TRUST: Final = {("OperatorWithExternalId", "Allow"): {"sts:AssumeRole", "sts:TagSession"}}
OPERATOR_TRUST: Final = {
    ("OperatorsToken", "Allow"): {"sts:AssumeRoleWithWebIdentity"},
    ("OperatorsPod", "Allow"): {"sts:AssumeRole", "sts:TagSession"},
}
TAGS: Final = {(sid, "Allow"): added for sid, added in POD_IDENTITY_ONLY.items()}


# --- They agree -----------------------------------------------------------------------------------------------------


def _target(**given: str | list[str]) -> Stack:
    return Stack("target-account.yaml", TARGET, OperatorRoleArn=OPERATOR_ROLE, ExternalId=EXTERNAL_ID, **given)


def _token_operator() -> Stack:
    return Stack("operator-account.yaml", OPERATOR, Issuer=ISSUER.removeprefix("https://"))


def test_manager_role_agrees() -> None:
    """CloudFormation and Terraform give the manager role the actions of the three JSON policies, Sid by Sid."""
    trust, policies = _target(SourceRolePath="/", EksClusterName="blue").role("ManagerRole")
    expected = json_actions("manager-role-policy", "manager-role-chains-policy", "manager-role-eks-policy")

    assert actions(*policies.values()) == expected
    assert actions(trust) == MANAGER_TRUST
    assert terraform_actions("target-account") == expected | MANAGER_TRUST


def test_operator_role_agrees() -> None:
    """So they do for the operator's role; with EKS Pod Identity the session's tags come on top."""
    expected = json_actions("operator-policy")
    by_token = _token_operator().role("TokenRole")
    by_pod = Stack("operator-account.yaml", OPERATOR, ClusterName="blue").role("PodIdentityRole")

    assert actions(*by_token[1].values()) == expected
    assert actions(*by_pod[1].values()) == expected | TAGS
    assert actions(by_token[0], by_pod[0]) == OPERATOR_TRUST
    assert terraform_actions("operator-account") == expected | TAGS | OPERATOR_TRUST


def test_only_what_is_asked_for() -> None:
    """Without source roles or a cluster, no policy for them; with a provider of the stack, no right to make one."""
    plain = _target().resources
    assert plain.keys() == {"ManagerRole"}

    stack = _target(Issuer=ISSUER)
    assert stack.resources["Provider"] == {"Url": ISSUER, "ClientIdList": ["sts.amazonaws.com"]}
    assert actions(*stack.role("ManagerRole")[1].values())["KeepProvider", "Allow"] == {"iam:GetOpenIDConnectProvider"}
    assert _token_operator().resources.keys() == {"TokenRole"}


@pytest.mark.parametrize("folder", ["target-account", "operator-account"])
def test_terraform_declares_what_it_uses(folder: str) -> None:
    """Every variable is declared, described and used."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in (AWS / "terraform" / folder).glob("*.tf")}
    assert texts.keys() == {"main.tf", "outputs.tf", "variables.tf", "versions.tf"}

    declared = re.findall(r'^variable "(\w+)"', texts["variables.tf"], re.MULTILINE)
    assert set(re.findall(r"\bvar\.(\w+)", texts["main.tf"])) == set(declared)
    assert texts["variables.tf"].count("description =") == len(declared)


@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed")
def test_terraform_is_formatted(tmp_path: Path) -> None:
    """Terraform itself can parse all files, and would write them the same."""
    done = subprocess.run(
        ["terraform", "fmt", "-check", "-diff", "-recursive", str(AWS / "terraform")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed")
@pytest.mark.parametrize("issuer", ["", ISSUER])
def test_terraform_computes_the_manager_role(tmp_path: Path, issuer: str) -> None:
    """Terraform's documents for the manager role are CloudFormation's, resources and conditions included."""
    paths = {"RolePath": "/team-a/", "SourceRolePath": "/sources/", "EksClusterName": "blue"}
    trust, policies = _target(Issuer=issuer, **paths).role("ManagerRole")

    computed = terraform_policies(
        "target-account",
        TARGET,
        tmp_path,
        operator_role_arns=[OPERATOR_ROLE],
        external_id=EXTERNAL_ID,
        role_path=paths["RolePath"],
        source_role_path=paths["SourceRolePath"],
        eks_cluster_name=paths["EksClusterName"],
        issuer=issuer,
    )

    assert same_form(computed) == same_form([trust, *policies.values()])


@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed")
@pytest.mark.parametrize(
    ("parameters", "variables", "role"),
    [
        ({"ClusterName": "blue"}, {"cluster_name": "blue"}, "PodIdentityRole"),
        ({"Issuer": "oidc.example.com/id/1"}, {"issuer": "oidc.example.com/id/1"}, "TokenRole"),
    ],
)
def test_terraform_computes_the_operators_role(
    tmp_path: Path, parameters: dict[str, str], variables: dict[str, str], role: str
) -> None:
    """So they are for the operator's role, both ways."""
    trust, policies = Stack("operator-account.yaml", OPERATOR, **parameters).role(role)

    computed = terraform_policies("operator-account", OPERATOR, tmp_path, **variables)

    assert same_form(computed) == same_form([trust, *policies.values()])


@pytest.mark.skipif(find_spec("cfnlint") is None, reason="cfn-lint is not installed")
def test_cfn_lint() -> None:
    """cfn-lint has nothing to say about the templates."""
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), *map(str, sorted(AWS.glob("*.yaml")))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# --- They are enough, and no more -----------------------------------------------------------------------------------


class _Cloud:
    """The operator's and a target account of a local AWS, with the roles of the templates."""

    def __init__(self, aws: LocalAws, tokens: TokenIssuer, target: Stack) -> None:
        self._aws = aws
        self._tokens = tokens
        aws.register_issuer(ISSUER, tokens.jwks())
        operator_trust, operator_policies = _token_operator().role("TokenRole")
        manager_trust, manager_policies = target.role("ManagerRole")
        provider = {"url": ISSUER, "clientIds": ["sts.amazonaws.com"]}
        aws.seed(
            {
                "accounts": {
                    OPERATOR: {
                        "providers": [provider],
                        "roles": [self._role("trustbind-operator", operator_trust, operator_policies)],
                    },
                }
            }
        )
        made_by_stack = target.resources.get("Provider")
        anybody = {"Version": "2012-10-17", "Statement": [_LAMBDA]}
        aws.seed(
            {
                "accounts": {
                    TARGET: {
                        "providers": [{"url": made_by_stack["Url"], "clientIds": made_by_stack["ClientIdList"]}]
                        if made_by_stack
                        else [],
                        "roles": [
                            self._role("trustbind-manager", manager_trust, manager_policies),
                            {"name": "app", "path": "/team-a/", "trustPolicy": anybody},
                            {"name": "base", "path": "/sources/", "trustPolicy": anybody},
                            {"name": "admin", "trustPolicy": anybody},
                        ],
                    }
                }
            }
        )

    @staticmethod
    def _role(name: str, trust: Any, policies: Any) -> dict[str, Any]:
        return {"name": name, "trustPolicy": trust, "inlinePolicies": policies}

    def client(self, service: str, key: str, token: str | None = None) -> Any:
        return boto3.client(
            service,
            region_name="us-east-1",
            endpoint_url=self._aws.url,
            aws_access_key_id=key,
            aws_secret_access_key="any",
            aws_session_token=token,
            config=Config(retries={"total_max_attempts": 1}, ignore_configured_endpoint_urls=True),
        )

    def operator(self, subject: str = "system:serviceaccount:trustbind-system:trustbind-operator") -> Any:
        """Return STS as the operator, by a token of the cluster's."""
        sts = self.client("sts", OPERATOR)
        token = self._tokens.mint(subject, audience="sts.amazonaws.com")
        given = sts.assume_role_with_web_identity(
            RoleArn=OPERATOR_ROLE, RoleSessionName="operator", WebIdentityToken=token
        )["Credentials"]
        return self._as(given, "sts")

    def manager(self, service: str = "iam") -> Any:
        """Return a service as the manager role, assumed by the operator with the external id."""
        given = self.operator().assume_role(RoleArn=MANAGER_ROLE, RoleSessionName="blue", ExternalId=EXTERNAL_ID)
        return self._as(given["Credentials"], service)

    def _as(self, given: Mapping[str, Any], service: str) -> Any:
        return self.client(service, given["AccessKeyId"], given["SessionToken"])


_LAMBDA: Final = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
_TRUST: Final = json.dumps({"Version": "2012-10-17", "Statement": [_LAMBDA | {"Sid": "Changed"}]})
_PODS: Final = json.dumps({"Version": "2012-10-17", "Statement": [STATEMENT]})
_PERMISSION: Final = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": MANAGER_ROLE}]}
)


@pytest.fixture(scope="module")
def tokens() -> TokenIssuer:
    """Return the cluster's token issuer."""
    return TokenIssuer(ISSUER)


@pytest.fixture(scope="module")
def server() -> Iterator[LocalAws]:
    """Return the module's local AWS."""
    with LocalAws() as running:
        yield running


@pytest.fixture
def aws(server: LocalAws) -> LocalAws:
    """Return the local AWS, empty."""
    server.reset()
    return server


@contextmanager
def _refused() -> Iterator[None]:
    with pytest.raises(ClientError) as caught:
        yield
    assert caught.value.response["Error"]["Code"] in {"AccessDenied", "AccessDeniedException"}


def test_operators_way_in(aws: LocalAws, tokens: TokenIssuer) -> None:
    """Only the operator's account gets the operator's role, and the manager role asks for role and external id."""
    cloud = _Cloud(aws, tokens, _target())

    cloud.manager()

    with _refused():
        cloud.operator("system:serviceaccount:team-a:reader")
    with _refused():
        cloud.operator().assume_role(RoleArn=MANAGER_ROLE, RoleSessionName="blue")
    with _refused():
        cloud.operator().assume_role(RoleArn=MANAGER_ROLE, RoleSessionName="blue", ExternalId="cluster-green")
    with _refused():
        cloud.client("sts", OPERATOR).assume_role(RoleArn=MANAGER_ROLE, RoleSessionName="root", ExternalId=EXTERNAL_ID)
    with _refused():
        cloud.operator().assume_role(RoleArn=f"arn:aws:iam::{TARGET}:role/admin", RoleSessionName="blue")


def test_manager_keeps_to_its_path(aws: LocalAws, tokens: TokenIssuer) -> None:
    """It edits trust below its path and nothing else: no other role, never itself, no permissions."""
    manager = _Cloud(aws, tokens, _target(RolePath="/team-a/")).manager()

    assert manager.get_role(RoleName="app")["Role"]["Arn"].endswith(":role/team-a/app")
    manager.update_assume_role_policy(RoleName="app", PolicyDocument=_TRUST)
    assert {role["RoleName"] for role in manager.list_roles()["Roles"]} >= {"app", "admin"}
    assert manager.get_account_summary()["SummaryMap"]["AssumeRolePolicySizeQuota"] == 2048
    made = manager.create_open_id_connect_provider(Url=ISSUER, ClientIDList=["sts.amazonaws.com"])
    arn = made["OpenIDConnectProviderArn"]
    manager.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID="other")
    assert manager.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)["ClientIDList"]

    for role in ("admin", "base", "trustbind-manager"):
        with _refused():
            manager.update_assume_role_policy(RoleName=role, PolicyDocument=_TRUST)
        with _refused():
            manager.get_role(RoleName=role)
    for role in ("app", "base", "trustbind-manager"):
        with _refused():
            manager.put_role_policy(RoleName=role, PolicyName="x", PolicyDocument=_PERMISSION)
    with _refused():
        manager.create_role(RoleName="new", Path="/team-a/", AssumeRolePolicyDocument=_TRUST)
    with _refused():
        manager.delete_role(RoleName="app")
    with _refused():
        manager.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)


def test_manager_of_a_whole_account_spares_itself(aws: LocalAws, tokens: TokenIssuer) -> None:
    """With the widest paths, the manager role still can change neither its own trust nor its own permissions."""
    manager = _Cloud(aws, tokens, _target(SourceRolePath="/")).manager()

    manager.update_assume_role_policy(RoleName="admin", PolicyDocument=_TRUST)
    manager.put_role_policy(RoleName="admin", PolicyName="x", PolicyDocument=_PERMISSION)
    with _refused():
        manager.update_assume_role_policy(RoleName="trustbind-manager", PolicyDocument=_TRUST)
    with _refused():
        manager.put_role_policy(RoleName="trustbind-manager", PolicyName="x", PolicyDocument=_PERMISSION)
    with _refused():
        manager.delete_role_policy(RoleName="trustbind-manager", PolicyName="trustbind-manager")


def test_associations_keep_to_cluster_and_path(aws: LocalAws, tokens: TokenIssuer) -> None:
    """Associations are kept in one cluster, with roles below the path, and never with the manager role."""
    cloud = _Cloud(aws, tokens, _target(RolePath="/team-a/", EksClusterName="blue"))
    for name in ("blue", "blue-2"):
        aws.create_cluster(TARGET, "us-east-1", name)
    root = cloud.client("iam", TARGET)
    for role in ("app", "admin"):
        root.update_assume_role_policy(RoleName=role, PolicyDocument=_PODS)
    eks = cloud.manager("eks")
    wanted = {"clusterName": "blue", "namespace": "team-a", "serviceAccount": "reader", "tags": {"a": "b"}}
    app, admin = (f"arn:aws:iam::{TARGET}:role/{name}" for name in ("team-a/app", "admin"))

    made = eks.create_pod_identity_association(**wanted, roleArn=app)["association"]
    at = {"clusterName": "blue", "associationId": made["associationId"]}
    assert eks.list_pod_identity_associations(clusterName="blue")["associations"]
    assert eks.describe_pod_identity_association(**at)["association"]["roleArn"] == app
    eks.update_pod_identity_association(**at, roleArn=app)
    eks.tag_resource(resourceArn=made["associationArn"], tags={"a": "c"})
    eks.untag_resource(resourceArn=made["associationArn"], tagKeys=["a"])

    for role in (admin, MANAGER_ROLE):
        with _refused():
            eks.update_pod_identity_association(**at, roleArn=role)
    with _refused():
        eks.create_pod_identity_association(**wanted | {"clusterName": "blue-2"}, roleArn=app)
    with _refused():
        eks.list_pod_identity_associations(clusterName="blue-2")
    eks.delete_pod_identity_association(**at)


def test_no_associations_unless_asked_for(aws: LocalAws, tokens: TokenIssuer) -> None:
    """Without a cluster's name the manager role has no rights in EKS."""
    cloud = _Cloud(aws, tokens, _target())
    aws.create_cluster(TARGET, "us-east-1", "blue")
    with _refused():
        cloud.manager("eks").list_pod_identity_associations(clusterName="blue")


def test_manager_role_is_not_handed_to_pods(aws: LocalAws, tokens: TokenIssuer) -> None:
    """Not even if it trusted them, and with the widest path."""
    cloud = _Cloud(aws, tokens, _target(EksClusterName="blue"))
    aws.create_cluster(TARGET, "us-east-1", "blue")
    eks = cloud.manager("eks")
    wanted = {"clusterName": "blue", "namespace": "team-a", "serviceAccount": "reader", "roleArn": MANAGER_ROLE}
    with pytest.raises(ClientError, match="explicit deny"):
        eks.create_pod_identity_association(**wanted)


def test_chains_keep_to_their_path(aws: LocalAws, tokens: TokenIssuer) -> None:
    """Inline policies are written on source roles alone."""
    manager = _Cloud(aws, tokens, _target(RolePath="/team-a/", SourceRolePath="/sources/")).manager()

    manager.put_role_policy(RoleName="base", PolicyName="x", PolicyDocument=_PERMISSION)
    assert manager.get_role_policy(RoleName="base", PolicyName="x")["PolicyName"] == "x"
    manager.delete_role_policy(RoleName="base", PolicyName="x")
    with _refused():
        manager.put_role_policy(RoleName="app", PolicyName="x", PolicyDocument=_PERMISSION)


def test_provider_of_the_stack(aws: LocalAws, tokens: TokenIssuer) -> None:
    """With the provider in the stack, the manager role looks at it and changes nothing."""
    manager = _Cloud(aws, tokens, _target(Issuer=ISSUER)).manager()
    arn = f"arn:aws:iam::{TARGET}:oidc-provider/{ISSUER.removeprefix('https://')}"

    assert manager.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)["ClientIDList"] == ["sts.amazonaws.com"]
    with _refused():
        manager.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID="other")
    with _refused():
        manager.create_open_id_connect_provider(Url="https://oidc.example.com/id/2", ClientIDList=["x"])
