"""The AWS side in manifests/aws as values: JSON policies, CloudFormation templates and Terraform modules."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

__all__ = ["AWS", "Stack", "actions", "json_actions", "same_form", "terraform_actions", "terraform_policies"]

AWS: Final = Path(__file__).parents[2] / "manifests" / "aws"

Template = Mapping[str, Any]


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, as objects of one member."""


def _function(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    name = tag if tag in {"Ref", "Condition"} else f"Fn::{tag}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    assert isinstance(node, yaml.SequenceNode)
    return {name: loader.construct_sequence(node, deep=True)}


_Loader.add_multi_constructor("!", _function)


def _template(name: str) -> Template:
    # The loader is a SafeLoader with tags of its own.
    loaded: Template = yaml.load((AWS / name).read_text(encoding="utf-8"), _Loader)  # noqa: S506
    return loaded


class Stack:
    """A template with parameters, as far as the templates here go."""

    def __init__(self, name: str, account: str, **given: str | list[str]) -> None:
        template = _template(name)
        declared = template["Parameters"]
        assert given.keys() <= declared.keys()
        self._values: dict[str, Any] = {"AWS::Partition": "aws", "AWS::AccountId": account}
        for parameter, described in declared.items():
            value = given.get(parameter, described.get("Default"))
            assert value is not None, parameter
            if described["Type"] == "CommaDelimitedList" and isinstance(value, str):
                value = value.split(",")
            if "AllowedPattern" in described:
                assert re.fullmatch(described["AllowedPattern"], value), (parameter, value)
            self._values[parameter] = value
        self._conditions: Mapping[str, Any] = template["Conditions"]
        self.resources = {
            key: self._resolve(resource["Properties"])
            for key, resource in template["Resources"].items()
            if "Condition" not in resource or self._resolve(self._conditions[resource["Condition"]])
        }

    def _resolve(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self._resolve(each) for each in node]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, argument),) = node.items()
            if name == "Ref":
                return self._values.get(argument, argument)
            if name == "Fn::GetAtt":
                return f"{argument}"
            if name == "Fn::Sub":
                return re.sub(r"\$\{([^}]+)\}", lambda m: str(self._values[m[1]]), argument)
            if name == "Fn::If":
                condition, yes, no = argument
                return self._resolve(yes if self._resolve(self._conditions[condition]) else no)
            if name == "Fn::Equals":
                return self._resolve(argument[0]) == self._resolve(argument[1])
            if name == "Fn::Not":
                return not self._resolve(argument[0])
        return {key: self._resolve(value) for key, value in node.items()}

    def role(self, key: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return a role's trust policy and its inline policies by name, those of resources beside it included."""
        role = self.resources[key]
        trust = role["AssumeRolePolicyDocument"]
        policies = [*role["Policies"], *(r for r in self.resources.values() if r.get("RoleName") == key)]
        return (
            json.loads(trust) if isinstance(trust, str) else trust,
            {policy["PolicyName"]: policy["PolicyDocument"] for policy in policies},
        )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def actions(*documents: Mapping[str, Any]) -> dict[tuple[str, str], set[str]]:
    """Return actions by Sid and effect."""
    found: dict[tuple[str, str], set[str]] = {}
    for document in documents:
        for statement in document["Statement"]:
            key = (statement["Sid"], statement["Effect"])
            found.setdefault(key, set()).update(_listed(statement["Action"]))
    return found


def json_actions(*names: str) -> dict[tuple[str, str], set[str]]:
    """Return actions by Sid and effect, of JSON policies by name."""
    return actions(*(json.loads((AWS / f"{name}.json").read_text(encoding="utf-8")) for name in names))


def terraform_actions(folder: str) -> dict[tuple[str, str], set[str]]:
    """Return actions by Sid and effect: each statement begins with its Sid and ends at the next one's."""
    text = (AWS / "terraform" / folder / "main.tf").read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
    found: dict[tuple[str, str], set[str]] = {}
    for block in re.split(r"\bSid\s*=", text)[1:]:
        sid = re.match(r'\s*"(\w+)"', block)
        effect = re.search(r'\bEffect\s*=\s*"(\w+)"', block)
        action = re.search(r"\bAction\s*=(.*?)\n\s*(?:Resource|Condition|Principal|\})", block, re.DOTALL)
        assert sid is not None
        assert effect is not None
        assert action is not None
        found.setdefault((sid[1], effect[1]), set()).update(re.findall(r'"((?:eks|iam|sts):\w+)"', action[1]))
    return found


def terraform_policies(folder: str, account: str, into: Path, **given: str | list[str]) -> list[dict[str, Any]]:
    """Return the policies of a module in their order, as Terraform itself computes them.

    Resources need a provider, which would have to be downloaded; expressions do not. So each policy becomes an output.
    """
    text = (AWS / "terraform" / folder / "main.tf").read_text(encoding="utf-8")
    text = text.replace("data.aws_partition.current.partition", '"aws"')
    text = text.replace("data.aws_caller_identity.current.account_id", f'"{account}"')
    local = re.search(r"^locals \{$.*?^\}$", text, re.MULTILINE | re.DOTALL)
    # From the name to the line that closes the expression: it is indented as the name is, or as a branch of it.
    found = re.findall(r"^  (?:assume_role_)?policy\s*= (.*?^ {2,4}\}\))$(?!\s*:)", text, re.MULTILINE | re.DOTALL)
    assert local is not None
    outputs = [f'output "policy{n}" {{\n  value = {expression}\n}}\n' for n, expression in enumerate(found)]
    (into / "main.tf").write_text("\n".join([local[0], *outputs]), encoding="utf-8")
    shutil.copy(AWS / "terraform" / folder / "variables.tf", into)
    (into / "given.auto.tfvars.json").write_text(json.dumps(given), encoding="utf-8")
    environment = {"PATH": os.environ["PATH"], "HOME": str(into), "CHECKPOINT_DISABLE": "1"}
    printed = ""
    for command in (("init",), ("apply", "-auto-approve"), ("output", "-json")):
        done = subprocess.run(
            ["terraform", *command], cwd=into, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        printed = done.stdout
    values = json.loads(printed)
    return [json.loads(values[f"policy{n}"]["value"]) for n in range(len(found))]


def same_form(document: Any) -> Any:
    """Return a document in which one-element lists and single values are the same."""
    if isinstance(document, dict):
        return {key: same_form(value) for key, value in document.items()}
    if isinstance(document, list):
        listed = [same_form(value) for value in document]
        return listed[0] if len(listed) == 1 else listed
    return document
