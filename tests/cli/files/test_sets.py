"""RoleBindingSets of the files as the bindings that the Namespaces of the files get."""

from __future__ import annotations

import json
from typing import Any

from support.bodies import set_body
from support.commands import ROLE, Cli, binding, written
from trustbind.api.role_binding_set import binding_name

ISSUER = "https://oidc.example.com/id/1"
ARGUMENTS = ("preview", "trust", "-f", "b.yaml", "--issuer", ISSUER)
HINT = "no Namespace of the files has the labels profile=true; add the Namespaces that the set is for"


def a_set(**template: Any) -> dict[str, Any]:
    """Return a RoleBindingSet as a file has it."""
    body = set_body(roleArn=ROLE, **template)
    return body | {"metadata": {"name": "profiles"}}


def namespace(name: str, value: str = "true") -> dict[str, Any]:
    """Return a Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"profile": value}}}


def subjects(text: str) -> list[str]:
    """Return the subjects of the one statement."""
    (statement,) = json.loads(text)["Statement"]
    (listed,) = (value for key, value in statement["Condition"]["StringEquals"].items() if key.endswith(":sub"))
    return [listed] if isinstance(listed, str) else list(listed)


def test_namespaces_of_the_files(cli: Cli) -> None:
    """Each one that the set selects gets its binding, in whichever order they are written."""
    written("b.yaml", a_set(), namespace("b"), namespace("a"), namespace("c", "false"))

    done = cli(*ARGUMENTS, "--role-arn", ROLE)

    assert (done.code, done.err) == (0, "")
    assert subjects(done.out) == ["system:serviceaccount:a:default-editor", "system:serviceaccount:b:default-editor"]


def test_binding_of_the_files_with_that_name(cli: Cli) -> None:
    """It counts, as in a cluster, where the set leaves it alone."""
    written("b.yaml", a_set(), namespace("a"), binding(binding_name("profiles"), "a"))

    assert subjects(cli(*ARGUMENTS, "--role-arn", ROLE).out) == ["system:serviceaccount:a:checkout"]


def test_without_namespaces(cli: Cli) -> None:
    """One sentence says what is missing."""
    written("b.yaml", a_set(), namespace("c", "false"))

    done = cli(*ARGUMENTS)

    assert done.code == 2
    assert f"RoleBindingSet profiles is ignored: {HINT}" in done.err


def test_pattern(cli: Cli) -> None:
    """Whether a pattern is safe can only be seen in the cluster, so no file gets trust by it."""
    written("b.yaml", set_body(pattern="profile-*", roleArn=ROLE), namespace("profile-a"))

    done = cli(*ARGUMENTS)

    assert done.code == 2
    assert "is ignored: subjects: Pattern needs the operator, which sees whether the pattern is safe" in done.err


def test_mistake(cli: Cli) -> None:
    """It is refused with file, object and field."""
    written("b.yaml", a_set(profile="a b"))

    done = cli(*ARGUMENTS)

    assert done.code == 2
    assert "b.yaml, document 1: RoleBindingSet profiles: spec.template.profile: 'a b' is not a profile name" in done.err


def test_twice(cli: Cli) -> None:
    """Two sets with one name are a mistake."""
    written("b.yaml", a_set(), a_set())

    assert "stands twice: also in b.yaml, document 1" in cli(*ARGUMENTS).err


def test_pod(cli: Cli) -> None:
    """A pod of a namespace that the set selects gets the role."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "notebook", "namespace": "a"},
        "spec": {"serviceAccountName": "default-editor", "containers": [{"name": "app", "image": "x"}]},
    }
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default-editor", "namespace": "a"}}
    written("b.yaml", a_set(), namespace("a"), account, pod)

    done = cli("preview", "pod", "-f", "b.yaml")

    assert (done.code, f"value: {ROLE}" in done.out) == (0, True), done.err
