"""Made from public reports: what people saw, and the sentence that would have helped them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.commands import Cli
from support.diagnosis import AGENT, CHAIN, HEALTHY, Json, changed, known

REPORTS = Path(__file__).parents[2] / "data" / "reports"
EKS = "https://oidc.eks.eu-west-1.amazonaws.com/id/AAAA0000AAAA0000AAAA0000AAAA0000"
GITHUB = "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com"


def policy(report: str, name: str = "trust.json") -> Json:
    """Return a trust policy."""
    document: Json = json.loads((REPORTS / report / name).read_text(encoding="utf-8"))
    return document.get("Role", {}).get("AssumeRolePolicyDocument", document)  # type: ignore[no-any-return] # JSON


def claims(report: str) -> Json:
    """Return the claims of a token."""
    part = (REPORTS / report / "token.jwt").read_text(encoding="utf-8").split(".")[1]
    found: Json = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def workload(document: Json, issuer: str, subject: str, role: str, **further: Any) -> Json:
    """Return a workload whose role has this trust policy, and of which everything else works."""
    namespace, name = subject.split("/")
    account = role.split(":")[4]

    def change(bundle: Json) -> None:
        bundle["target"]["namespace"] = namespace
        bundle.update(issuer=known(issuer), namespaceLabels=known({}))
        bundle["claims"]["value"].update(iss=issuer, sub=f"system:serviceaccount:{namespace}:{name}", **further)
        bundle["pod"]["value"]["serviceAccount"] = bundle["serviceAccount"]["value"]["name"] = name
        bundle["pod"]["value"]["containers"][0]["env"][0]["value"] = role
        body = bundle["bindings"]["value"][0]
        body["metadata"]["namespace"], body["status"] = namespace, {}
        body["spec"].update(roleArn=role, serviceAccountNames=[name])
        bundle["role"] = known({"arn": role, "trustPolicy": document})
        bundle["caller"]["value"]["account"] = account
        bundle["provider"]["value"]["arn"] = f"arn:aws:iam::{account}:oidc-provider/{issuer.removeprefix('https://')}"

    return changed(HEALTHY, change)


def pods(report: str, name: str) -> dict[str, Json]:
    """Return a workload for each pod of a file of manifests, which no webhook has seen."""
    documents = list(yaml.safe_load_all((REPORTS / report / name).read_text(encoding="utf-8")))
    metadata = {(d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]): d["metadata"] for d in documents}
    found = {}
    for body in documents:
        if body["kind"] == "Pod":
            namespace, account = body["metadata"]["namespace"], body["spec"]["serviceAccountName"]
            labels = metadata.get(("Namespace", None, namespace), {}).get("labels", {})
            bundle = _bare(body, metadata["ServiceAccount", namespace, account], labels)
            found[body["metadata"]["name"]] = bundle
    return found


def _bare(pod: Mapping[str, Any], account: Mapping[str, Any], labels: Mapping[str, str]) -> Json:
    texts = ("annotations", "labels")

    def change(bundle: Json) -> None:
        bundle["target"].update(namespace=pod["metadata"]["namespace"], name=pod["metadata"]["name"])
        bundle.update(bindings=known([]), namespaceLabels=known(dict(labels)))
        bundle["claims"]["value"]["kubernetes.io"] = {}
        bundle["serviceAccount"] = known({"name": account["name"]} | {key: account.get(key, {}) for key in texts})
        bundle["pod"] = known(
            {
                "name": pod["metadata"]["name"],
                "phase": "Running",
                "serviceAccount": account["name"],
                "containers": [{"name": each["name"]} for each in pod["spec"]["containers"]],
            }
            | {key: pod["metadata"].get(key, {}) for key in texts}
        )

    return changed(HEALTHY, change)


def chain(document: Json, **role: Any) -> Json:
    """Return a chain whose target role has this trust policy."""

    def change(bundle: Json) -> None:
        bundle["role"]["value"].update(role)
        bundle["targetRole"]["value"]["trustPolicy"] = document
        if "arn" in role:
            bundle["bindings"]["value"][0]["spec"]["source"] = {"roleArn": role["arn"]}

    return changed(CHAIN, change)


KARPENTER = "arn:aws:iam::111122223333:role/karpenter"
READER = ("https://oidc.example.com", "team-a/reader")
OF_01 = claims("01-provider-of-other-account")
TAGS = {key: value for key, value in claims("08-request-tags").items() if key.startswith("https://")}
BUNDLES: dict[str, tuple[Json, str, tuple[str, ...]]] = {
    "01": (
        workload(
            policy("01-provider-of-other-account", "role.json"),
            OF_01["iss"],
            "crossplane-system/provider-aws-7f",
            "arn:aws:iam::444455556666:role/xp",
        ),
        "TB129",
        ("in the role's AWS account, 444455556666", "names the provider of 111122223333"),
    ),
    "06": (workload(policy("06-current-time"), *READER, "arn:aws:iam::444455556666:role/x"), "", ()),
    "08": (
        workload(policy("08-request-tags"), *READER, "arn:aws:iam::111122223333:role/x", **TAGS),
        "TB129",
        ("The call has session tags, so sts:TagSession has to be allowed, too",),
    ),
    "10 on the pod": (
        pods("10-pod-annotation", "in.yaml")["provider-aws-1"],
        "TB105",
        ("the pod has the annotation eks.amazonaws.com/role-arn, which has an effect only on a service account",),
    ),
    "10 kube2iam": (
        pods("10-pod-annotation", "kube2iam.yaml")["provider-aws-1"],
        "TB105",
        ("iam.amazonaws.com/role, which trustbind does not read, but kube2iam and kiam do",),
    ),
    **{
        f"10 {name}": (bundle, "TB105", (said,))
        for (name, bundle), said in zip(
            pods("10-pod-annotation", "sa-variants.yaml").items(),
            (
                "take the quotes off and write arn:aws:iam::111122223333:role/x",
                "a placeholder of a template was not filled in",
                "the AWS account id was taken for a number",
                "write the role's own ARN, arn:aws:iam::111122223333:role/x",
                "has the annotation eks.amazonaws.com/role, which trustbind does not read",
                "has the label eks.amazonaws.com/role-arn, which has an effect only as an annotation",
                "an account id has 12 digits",
                "that is a name: write the whole ARN",
                "not a role",
                "write arn:aws:iam::111122223333:role/x",
                "with two colons after iam",
            ),
            strict=True,
        )
    },
    "11": (
        workload(policy("11-arn-in-key"), EKS, "karpenter/karpenter", KARPENTER),
        "TB129",
        (f'no key begins with an ARN, write "{EKS.removeprefix("https://")}:sub"',),
    ),
    "12": (
        workload(policy("12-federated-without-arn"), EKS, "karpenter/karpenter", KARPENTER),
        "TB129",
        (
            f"Federated takes the provider's ARN, \"arn:aws:iam::111122223333:oidc-provider/{EKS.removeprefix('https://')}",
        ),
    ),
    "13": (
        workload(policy("13-two-clusters-one-statement"), EKS, "karpenter/karpenter", KARPENTER),
        "TB129",
        ("conditions are ANDed, and no token has keys of two issuers; write a statement for each issuer",),
    ),
    "14": (
        chain(policy("14-sts-role-principal"), arn="arn:aws:iam::111122223333:role/foo"),
        "TB140",
        ('IAM refuses that principal, write "arn:aws:iam::111122223333:role/foo"',),
    ),
    "28": (
        changed(AGENT, lambda b: b["role"]["value"].update(trustPolicy=policy("28-pod-identity-tagsession"))),
        "TB141",
        ("EKS also needs sts:TagSession, which no statement allows",),
    ),
    "34": (
        pods("34-optout-label", "in.yaml")["p2"],
        "TB106",
        ("Namespace n2 has the label trustbind.dev/inject=false",),
    ),
    "36": (
        chain(policy("36-account-root"), inlinePolicies=[]),
        "TB140",
        ("no inline policy of source role arn:aws:iam::111122223333:role/source allows sts:AssumeRole",),
    ),
}


@pytest.mark.parametrize("name", BUNDLES)
def test_report_by_doctor(cli: Cli, name: str) -> None:
    """One command, from the facts to the sentence."""
    bundle, code, said = BUNDLES[name]
    Path("facts.json").write_text(json.dumps(bundle), encoding="utf-8")

    done = cli("doctor", "--from", "facts.json", "-o", "json")

    cause = json.loads(done.out)["cause"]
    assert (cause or {}).get("code", "") == code, done.out
    assert done.code == (1 if code else 0)
    assert [text for text in said if text not in cause["message"]] == []


@pytest.mark.parametrize(
    ("report", "name", "sub", "answer", "said"),
    [
        (
            "26-stringlike-case",
            "trust.json",
            "repo:Example-Org/shop:ref:refs/heads/main",
            "Deny",
            "only in letter case",
        ),
        ("26-stringlike-case", "eq.json", "repo:Example-Org/shop:ref:refs/heads/main", "Deny", "only in letter case"),
        ("26-stringlike-case", "ws.json", "repo:Example-Org/shop:ref:refs/heads/main", "Deny", "only in white space"),
    ],
)
def test_report_by_evaluate(cli: Cli, report: str, name: str, sub: str, answer: str, said: str) -> None:
    """Subjects of GitHub are no workloads of the cluster; evaluate is for them."""
    key = "token.actions.githubusercontent.com"
    context = ("--context", f"{key}:sub={sub}", "--context", f"{key}:aud=sts.amazonaws.com")

    done = cli("evaluate", "--policy", str(REPORTS / report / name), "--principal", GITHUB, *context)

    assert done.out.startswith(f"{answer}\n")
    assert said in done.out


def test_report_04_by_evaluate(cli: Cli) -> None:
    """STS makes keys of these claims of GitHub's."""
    folder = REPORTS / "04-github-repository-claim"

    done = cli("evaluate", "--policy", str(folder / "trust.json"), "--token", str(folder / "token.jwt"))

    assert (done.code, done.out.splitlines()[0]) == (0, "Allow")


def test_report_30_by_preview(cli: Cli) -> None:
    """A condition on GitHub's key stands in GitHub's statement alone, or is refused with where to write it."""
    folder = REPORTS / "30-idp-conditions"
    command = ("preview", "trust", "-f", str(folder / "b.yaml"), "--issuer", "https://oidc.example.com")

    done = cli(*command, "--role-arn", "arn:aws:iam::111122223333:role/deploy")

    assert done.code != 0
    assert "federatedSubjects" in done.err
