"""Somebody who runs ``trustbind apply`` as a process of its own, and the AWS that it acts on.

The accounts are the demo's: the operator's role in account A, and in account B a manager role that it may assume and
a role ``s3-reader`` with a statement of somebody else's.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import boto3
import yaml

from support.commands import Outcome
from trustbind_cli.demo.fixtures import (
    ACCOUNT_A,
    ACCOUNT_B,
    EXTERNAL_ID,
    ISSUER,
    MANAGER_ROLE,
    OPERATOR_ROLE,
    REGION,
    TARGET_ROLE,
    World,
)
from trustbind_localaws import LocalAws

__all__ = ["Shell", "account", "asked", "binding", "document", "grant", "is_ours"]

_PROVIDER: Final = f"arn:aws:iam::{ACCOUNT_B}:oidc-provider/{ISSUER.removeprefix('https://')}"
_SUBJECT: Final = f"{ISSUER.removeprefix('https://')}:sub"
_WRITES: Final = ("UpdateAssumeRolePolicy", "CreateOpenIDConnectProvider", "AddClientIDToOpenIDConnectProvider")
_EC2: Final = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}


def document(*statements: dict[str, Any]) -> dict[str, Any]:
    """Return a policy."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


class Shell:
    """Somebody with the operator's identity and a folder of files.

    Attributes:
        aws: the local AWS.
        world: what exists at the beginning.
        folder: of the files.
    """

    def __init__(self, aws: LocalAws, scene: World, folder: Path) -> None:
        self.aws = aws
        self.world = scene
        self.folder = folder
        # The demo's operator keeps to other accounts; this one also changes roles of its own account.
        operator = scene.aws["accounts"][ACCOUNT_A]["roles"][0]
        operator["inlinePolicies"]["own"] = document({"Effect": "Allow", "Action": "iam:*", "Resource": "*"})
        aws.seed(scene.aws)
        sts = self._root("sts", ACCOUNT_A)
        credentials = sts.assume_role(RoleArn=OPERATOR_ROLE, RoleSessionName="test")["Credentials"]
        sts.close()
        self._identity = {
            "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
            "AWS_SESSION_TOKEN": credentials["SessionToken"],
        }
        aws.reset_calls()

    def apply(self, *arguments: str, objects: tuple[dict[str, Any], ...] = (), **how: Any) -> Outcome:
        """Run ``trustbind apply`` on a file of objects.

        Args:
            arguments: besides the file and the issuer.
            objects: of the file.
            how: ``stdin`` as text; ``anonymous`` for nobody's credentials; ``env`` for further variables.
        """
        return self._run(self._command(objects, *arguments), **how)

    def trustbind(self, *arguments: str, **how: Any) -> Outcome:
        """Run another command; see `apply`."""
        return self._run([sys.executable, "-m", "trustbind_cli", *arguments], **how)

    def _run(self, command: list[str], **how: Any) -> Outcome:
        done = subprocess.run(
            command,
            env=self._environment({} if how.get("anonymous") else self._identity) | how.get("env", {}),
            input=how.get("stdin", ""),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Outcome(done.returncode, done.stdout, done.stderr)

    def apply_while(self, meanwhile: Callable[[], object], objects: tuple[dict[str, Any], ...]) -> Outcome:
        """Run ``trustbind apply``, do something when it asks, and agree then."""
        with subprocess.Popen(
            self._command(objects),
            env=self._environment(self._identity),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            asked(process.stderr)
            meanwhile()
            out, err = process.communicate("y\n", timeout=60)
        return Outcome(process.returncode, out, err)

    def interrupt(
        self, objects: tuple[dict[str, Any], ...], ready: Callable[[Any], object], url: str = ""
    ) -> tuple[Outcome, float]:
        """Run ``trustbind apply``, press Ctrl-C, and return also how many seconds it took to stop.

        Args:
            objects: of the file.
            ready: returns when it is time for that; called with the process's standard error.
            url: of an AWS other than the local one.
        """
        identity = self._identity | ({"AWS_ENDPOINT_URL": url} if url else {})
        # A shell lets what it starts in the background ignore Ctrl-C, and that is inherited; a handler is not.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with subprocess.Popen(
            self._command(objects),
            env=self._environment(identity),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            ready(process.stderr)
            start = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        return Outcome(process.returncode, out, err), time.monotonic() - start

    def _command(self, objects: tuple[dict[str, Any], ...], *arguments: str) -> list[str]:
        file = self.folder / "objects.yaml"
        file.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
        return [sys.executable, "-m", "trustbind_cli", "apply", "-f", str(file), "--issuer", ISSUER, *arguments]

    def _environment(self, identity: dict[str, str]) -> dict[str, str]:
        where = {"AWS_ENDPOINT_URL": self.aws.url, "AWS_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true"}
        return where | {"PATH": os.defpath, "HOME": str(self.folder)} | identity

    def writes(self) -> list[tuple[str, str]]:
        """Return operation and resource of every write since the last time."""
        calls = [(c.operation, c.resource) for c in self.aws.calls() if c.operation in _WRITES and not c.code]
        self.aws.reset_calls()
        return calls

    def statements(self, role_arn: str = TARGET_ROLE) -> list[dict[str, Any]]:
        """Return the statements of a role's trust policy."""
        iam = self._root("iam", role_arn.split(":")[4])
        role = iam.get_role(RoleName=role_arn.rpartition("/")[2])["Role"]
        iam.close()
        self.aws.reset_calls()
        return list(role["AssumeRolePolicyDocument"]["Statement"])

    def subjects(self, role_arn: str = TARGET_ROLE) -> list[str]:
        """Return whom our statements in a role's trust policy let in."""
        blocks = [s.get("Condition", {}).get("StringEquals", {}) for s in self.statements(role_arn) if is_ours(s)]
        found = [block[_SUBJECT] for block in blocks if _SUBJECT in block]
        return [subject for each in found for subject in ([each] if isinstance(each, str) else each)]

    def add(self, statement: dict[str, Any]) -> None:
        """Add a statement to the target role's trust policy, as somebody else would."""
        whole = document(*self.statements(), statement)
        iam = self._root("iam", ACCOUNT_B)
        iam.update_assume_role_policy(RoleName=TARGET_ROLE.rpartition("/")[2], PolicyDocument=json.dumps(whole))
        iam.close()
        self.aws.reset_calls()

    def provider(self, url: str) -> None:
        """Create another issuer's OIDC provider in account B."""
        iam = self._root("iam", ACCOUNT_B)
        iam.create_open_id_connect_provider(Url=url, ClientIDList=["sts.amazonaws.com"])
        iam.close()
        self.aws.reset_calls()

    def edit(self, role_arn: str, *statements: dict[str, Any]) -> None:
        """Replace a role's trust policy, as another writer would; the calls that were counted stay counted."""
        iam = self._root("iam", role_arn.split(":")[4])
        iam.update_assume_role_policy(
            RoleName=role_arn.rpartition("/")[2], PolicyDocument=json.dumps(document(*statements))
        )
        iam.close()

    def source_targets(self, role_arn: str) -> list[str]:
        """Return which roles the inline policies of trustbind let a role assume."""
        iam = self._root("iam", role_arn.split(":")[4])
        name = role_arn.rpartition("/")[2]
        found: list[str] = []
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            if policy.startswith("trustbind-"):
                body = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
                found += body["Statement"][0]["Resource"]
        iam.close()
        self.aws.reset_calls()
        return found

    def inline_policies(self, role_arn: str) -> dict[str, Any]:
        """Return name to document of a role's inline policies."""
        iam = self._root("iam", role_arn.split(":")[4])
        name = role_arn.rpartition("/")[2]
        names = iam.list_role_policies(RoleName=name)["PolicyNames"]
        found = {each: iam.get_role_policy(RoleName=name, PolicyName=each)["PolicyDocument"] for each in names}
        iam.close()
        self.aws.reset_calls()
        return found

    def delete_provider(self) -> None:
        """Delete the cluster's OIDC provider of account B."""
        iam = self._root("iam", ACCOUNT_B)
        iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=_PROVIDER)
        iam.close()
        self.aws.reset_calls()

    def role(self, arn: str, *statements: dict[str, Any], **settings: Any) -> str:
        """Create a role, and return its ARN."""
        account, path = arn.split(":")[4], arn.partition(":role")[2]
        folder, _, name = path.rpartition("/")
        role = {"name": name, "path": f"{folder}/", "trustPolicy": document(*(statements or (_EC2,)))} | settings
        self.aws.seed({"accounts": {account: {"roles": [role]}}})
        self.aws.reset_calls()
        return arn

    def delete_role(self, name: str) -> None:
        """Delete a role of account B."""
        iam = self._root("iam", ACCOUNT_B)
        iam.delete_role(RoleName=name)
        iam.close()

    def tag_role(self, name: str, value: str) -> None:
        """Tag a role of account B with the namespaces that may use it."""
        iam = self._root("iam", ACCOUNT_B)
        iam.tag_role(RoleName=name, Tags=[{"Key": "trustbind.dev/namespaces", "Value": value}])
        iam.close()

    def allow_listing(self) -> None:
        """Give the manager role of account B the right to list roles, as the templates in manifests/aws do."""
        iam = self._root("iam", ACCOUNT_B)
        allowed = {"Effect": "Allow", "Action": "iam:ListRoles", "Resource": "*"}
        name = MANAGER_ROLE.rpartition("/")[2]
        iam.put_role_policy(RoleName=name, PolicyName="list", PolicyDocument=json.dumps(document(allowed)))
        iam.close()
        self.aws.reset_calls()

    def allow_associations(self, cluster: str) -> None:
        """Create an EKS cluster in account B, and give the manager role there what the templates give it."""
        self.aws.create_cluster(ACCOUNT_B, REGION, cluster)
        iam = self._root("iam", ACCOUNT_B)
        allowed = {"Effect": "Allow", "Action": ["eks:*", "iam:PassRole"], "Resource": "*"}
        name = MANAGER_ROLE.rpartition("/")[2]
        iam.put_role_policy(RoleName=name, PolicyName="eks", PolicyDocument=json.dumps(document(allowed)))
        iam.close()
        self.aws.reset_calls()

    def associate(self, cluster: str, name: str, role_arn: str, tags: dict[str, str]) -> None:
        """Create an association of a service account of team-a in account B."""
        eks = self._root("eks", ACCOUNT_B)
        eks.create_pod_identity_association(
            clusterName=cluster, namespace="team-a", serviceAccount=name, roleArn=role_arn, tags=tags
        )
        eks.close()

    def associated(self, cluster: str) -> list[str]:
        """Return the service accounts that have an association in account B, sorted."""
        eks = self._root("eks", ACCOUNT_B)
        found = eks.list_pod_identity_associations(clusterName=cluster)["associations"]
        eks.close()
        return sorted(each["serviceAccount"] for each in found)

    def audiences(self) -> list[str]:
        """Return the client ids of account B's provider."""
        iam = self._root("iam", ACCOUNT_B)
        provider = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=_PROVIDER)
        iam.close()
        return list(provider["ClientIDList"])

    def _root(self, service: str, account: str) -> Any:
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.aws.url,
            aws_access_key_id=account,
            aws_secret_access_key="any",
        )


def asked(stderr: Any) -> None:
    """Return when the command asks whether it may write."""
    printed = ""
    while not printed.endswith("[y/N]:"):
        printed += (letter := stderr.read(1))
        assert letter, f"it does not ask: {printed}"


def is_ours(statement: dict[str, Any]) -> bool:
    """Return whether a statement is trustbind's."""
    return str(statement.get("Sid", "")).startswith("Trustbind")


def binding(name: str, role_arn: str = TARGET_ROLE, *, namespace: str = "team-a", **spec: Any) -> dict[str, Any]:
    """Return a RoleBinding of the account ``reader``."""
    return {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"roleArn": role_arn, "serviceAccountNames": ["reader"]} | spec,
    }


def account(**spec: Any) -> dict[str, Any]:
    """Return the AWSAccount of account B, with what is said differently."""
    return {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": "AWSAccount",
        "metadata": {"name": f"account-{spec.get('accountId', ACCOUNT_B)}"},
        "spec": {"accountId": ACCOUNT_B, "managerRoleArn": MANAGER_ROLE, "externalId": EXTERNAL_ID} | spec,
    }


def grant(namespace: str, *role_arns: str) -> dict[str, Any]:
    """Return a RoleGrant."""
    return {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": "RoleGrant",
        "metadata": {"name": f"{namespace}-may"},
        "spec": {"namespaces": {"names": [namespace]}, "roleArns": list(role_arns)},
    }
