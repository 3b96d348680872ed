"""The demo, step by step. Every step checks what it shows, so that the end is a verdict and not a hope."""

from __future__ import annotations

import base64
import json
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from trustbind.identity.subjects import Subject
from trustbind_cli.demo.fixtures import (
    ACCOUNT_A,
    ISSUER,
    NAMESPACE,
    OPERATOR_ROLE,
    READER,
    REGION,
    TARGET_ROLE,
    WRITER,
    World,
    review_of,
    world,
)
from trustbind_cli.demo.processes import (
    DemoError,
    Process,
    free_port,
    http_json,
    make_certificate,
    post_review,
    python_environment,
)
from trustbind_cli.output import difference, print_difference, to_yaml
from trustbind_localaws.tokens.service_account_token import TokenIssuer
from trustbind_webhook.injection.json_patch import applied

__all__ = ["run"]

_WORKLOAD: Final = """
import boto3, botocore.exceptions, sys
try:
    print(boto3.client("sts").get_caller_identity()["Arn"])
except botocore.exceptions.ClientError as error:
    print(error)
    sys.exit(1)
"""
"""All that the workload does: no key, no role and no token in sight."""


@dataclass(slots=True)
class _Demo:
    """The running demo."""

    console: Console
    folder: Path
    world: World
    issuer: TokenIssuer
    aws: Process
    aws_url: str
    webhook: Process
    webhook_port: int
    operator_environment: dict[str, str]
    failures: list[str] = field(default_factory=list)

    def step(self, number: int, title: str) -> None:
        self.console.print()
        self.console.print(Rule(Text(f"{number}. {title}", style="bold"), align="left", characters="─"))

    def check(self, what: str, *, holds: bool) -> None:
        mark, style = ("✓", "green") if holds else ("✗", "bold red")
        self.console.print(Text(f"{mark} {what}", style=style))
        if not holds:
            self.failures.append(what)


def run(*, keep: bool = False) -> int:
    """Tell the story; return 0 when every step showed what it should, else 1.

    Args:
        keep: leave the processes running until interrupted.

    Raises:
        DemoError: a process did not start.
    """
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="trustbind-demo-"))
    started: list[Process] = []
    try:
        demo = _begin(console, folder, started)
        _tell(demo)
        verdict = _verdict(demo, time.monotonic() - began)
        if keep:
            _keep(demo)
        return verdict
    finally:
        for process in reversed(started):
            process.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _begin(console: Console, folder: Path, started: list[Process]) -> _Demo:
    console.print(Text("trustbind demo: a pod uses a role of another AWS account, with no stored keys", style="bold"))
    console.print(
        "Everything runs on this machine: a strict stand-in for AWS (IAM and STS), the real webhook, the real engine, "
        "and boto3."
    )
    issuer = TokenIssuer(ISSUER)
    scene = world(issuer.jwks())
    _write(folder / "aws.json", scene.aws)
    manifests = folder / "cluster"
    manifests.mkdir()
    (manifests / "accounts.yaml").write_text("---\n".join(to_yaml(a) for a in scene.accounts))
    (folder / "account-b.yaml").write_text(to_yaml(scene.account_b))
    make_certificate(folder)

    environment = python_environment()
    aws = Process(
        "the local AWS", ["-m", "trustbind_localaws", "--accounts-file", str(folder / "aws.json")], folder / "aws.log",
        environment,
    )  # fmt: skip
    started.append(aws)
    port = free_port()
    _write(folder / "webhook.json", _webhook_settings(folder, port))
    webhook = Process(
        "the webhook", ["-m", "trustbind_cli", "webhook", "--config", str(folder / "webhook.json")],
        folder / "webhook.log", environment,
    )  # fmt: skip
    started.append(webhook)
    aws.wait_for(lambda: aws.said("ready on "))
    webhook.wait_for(lambda: _is_ready(port, folder / "tls.crt"))
    url = aws.said("ready on ").rpartition(" ")[2]
    console.print(Text(f"✓ the local AWS listens on {url}, the webhook on https://127.0.0.1:{port}", style="green"))
    operator = environment | _operator_credentials(url)
    return _Demo(console, folder, scene, issuer, aws, url, webhook, port, operator)


def _tell(demo: _Demo) -> None:
    console = demo.console
    role_before = _trust(demo)

    demo.step(1, "A team writes one object, a RoleBinding")
    console.print(to_yaml(demo.world.binding).rstrip())
    (demo.folder / "cluster" / "binding.yaml").write_text(to_yaml(demo.world.binding))

    demo.step(2, "Through a manager role, the other account's role learns to trust it")
    _apply(demo, "-f", str(demo.folder / "cluster" / "binding.yaml"))
    role_after = _trust(demo)
    demo.check(
        "the statement that was there before is still there, and ours came to it",
        holds=role_before["Statement"][0] in role_after["Statement"] and len(role_after["Statement"]) == 2,  # noqa: PLR2004 - theirs and ours
    )

    demo.step(3, "A pod is created; the API server asks the webhook")
    uid = str(uuid.uuid4())
    _wait(lambda: "patch" in _review(demo, uid), "the webhook to see the binding")
    response = _review(demo, uid)
    pod = applied(demo.world.pod, json.loads(base64.b64decode(response["patch"])))
    print_difference(difference(to_yaml(demo.world.pod), to_yaml(pod), name="pod"), console)
    demo.check("the webhook only added things", holds=_contains(pod, demo.world.pod))

    demo.step(4, "The kubelet puts the token where the pod's volume says")
    token_file = _play_kubelet(demo, pod, READER)
    console.print(f"a token for system:serviceaccount:{NAMESPACE}:{READER}, in {token_file}")

    demo.step(5, "The workload: boto3, with nothing but what was injected")
    code, said = _workload(demo, pod)
    console.print(f"sts:GetCallerIdentity says: {said}")
    demo.check("boto3 has credentials of the role in the other account", holds=code == 0 and "s3-reader" in said)

    demo.step(6, f"The same with a token of another account, {NAMESPACE}/{WRITER}")
    _play_kubelet(demo, pod, WRITER)
    code, said = _workload(demo, pod)
    console.print(f"AWS says: {said}")
    console.print(f"trustbind says why: {_why(demo)}")
    demo.check("it is refused", holds=code != 0 and "Not authorized" in said)

    demo.step(7, "The binding is removed")
    (demo.folder / "cluster" / "binding.yaml").unlink()
    _apply(demo, "--role-arn", TARGET_ROLE)
    _play_kubelet(demo, pod, READER)
    code, said = _workload(demo, pod)
    console.print(f"AWS now says to {NAMESPACE}/{READER}: {said}")
    demo.check("the first account is refused, too", holds=code != 0 and "Not authorized" in said)
    demo.check("the trust policy is what it was at the beginning", holds=_trust(demo) == role_before)


def _verdict(demo: _Demo, seconds: float) -> int:
    console = demo.console
    console.print()
    if demo.failures:
        console.print(Text(f"✗ the demo failed: {'; '.join(demo.failures)}", style="bold red"))
        return 1
    console.print(Text(f"✓ every step succeeded ({seconds:.0f} s)", style="bold green"))
    console.print()
    console.print("What next:")
    console.print("  trustbind preview pod -f FILE      what the webhook would make of your own pods")
    console.print("  trustbind preview trust --help     what your bindings would make of a trust policy")
    console.print("  trustbind evaluate --help          why AWS says 'Not authorized to perform sts:AssumeRole...'")
    console.print("  make demo DEMO_ARGS=--keep         leave the demo running and poke at it")
    return 0


def _keep(demo: _Demo) -> None:
    console = demo.console
    (demo.folder / "cluster" / "binding.yaml").write_text(to_yaml(demo.world.binding))
    exports = "\n".join(f"  export {k}={v}" for k, v in _operator_credentials(demo.aws_url).items())
    console.print()
    console.print(Text("It keeps running; Ctrl-C ends it and removes its files.", style="bold"))
    console.print(f"Files: {demo.folder} (cluster/ is what the webhook sees; edit it)")
    console.print("To be the operator in account A:")
    console.print(exports)
    console.print("Then, for example:")
    console.print(
        f"  trustbind apply -f {demo.folder}/cluster/binding.yaml -f {demo.folder}/account-b.yaml --issuer {ISSUER}"
    )
    console.print(f"  curl --cacert {demo.folder}/tls.crt https://127.0.0.1:{demo.webhook_port}/readyz")
    console.print(f"  curl {demo.aws_url}/_local/decisions")
    try:
        demo.webhook.wait()
    except KeyboardInterrupt:
        console.print("ended")


def _webhook_settings(folder: Path, port: int) -> dict[str, Any]:
    return {
        "server": {
            "host": "127.0.0.1",
            "port": port,
            "metricsHost": "127.0.0.1",
            "metricsPort": free_port(),
            "certFile": str(folder / "tls.crt"),
            "keyFile": str(folder / "tls.key"),
            "drainSeconds": 0,
        },
        # In a container the token stands at the usual path; here the "container" is a folder of the demo's.
        "injection": {"region": REGION, "mountPath": str(folder / "pod" / "serviceaccount")},
        "lookup": {"source": "files", "manifests": [str(folder / "cluster")]},
    }


def _operator_credentials(url: str) -> dict[str, str]:
    """Return the environment of the operator: a session of its own role in account A."""
    import boto3  # noqa: PLC0415 - takes long to load, and only the demo needs it here

    sts = boto3.client(
        "sts",
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id=ACCOUNT_A,
        aws_secret_access_key="not-verified-here",  # noqa: S106 - the local AWS checks no signatures
    )
    credentials = sts.assume_role(RoleArn=OPERATOR_ROLE, RoleSessionName="demo")["Credentials"]
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
        "AWS_SESSION_TOKEN": credentials["SessionToken"],
    }


def _apply(demo: _Demo, *arguments: str) -> None:
    command = ["apply", *arguments, "-f", str(demo.folder / "account-b.yaml"), "--issuer", ISSUER, "--yes"]
    shown = " ".join(a.replace(str(demo.folder), "") for a in command)
    demo.console.print(Text(f"$ trustbind {shown}", style="dim"))
    done = subprocess.run(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", "trustbind_cli", *command],
        env=demo.operator_environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    for line in done.stdout.splitlines():
        print_difference([line], demo.console)
    demo.check((done.stderr.strip().splitlines() or ["applied"])[-1], holds=done.returncode == 0)


def _review(demo: _Demo, uid: str) -> dict[str, Any]:
    return post_review(demo.webhook_port, demo.folder / "tls.crt", review_of(demo.world.pod, uid))


def _play_kubelet(demo: _Demo, pod: Mapping[str, Any], account: str) -> Path:
    """Do what a kubelet does with a projected token: mint it for the volume's audience, at the mount's path."""
    volume = next(v for v in pod["spec"]["volumes"] if v["name"] == "aws-iam-token")
    source = volume["projected"]["sources"][0]["serviceAccountToken"]
    mount = next(m for m in pod["spec"]["containers"][0]["volumeMounts"] if m["name"] == "aws-iam-token")
    token = demo.issuer.mint(
        Subject(NAMESPACE, account),
        source["audience"],
        expires_in=source["expirationSeconds"],
        pod=pod["metadata"]["name"],
    )
    path = Path(str(mount["mountPath"])) / str(source["path"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(token)
    return path


def _workload(demo: _Demo, pod: Mapping[str, Any]) -> tuple[int, str]:
    """Run the workload with the container's environment, and where AWS is; nothing else of this process's."""
    injected = {variable["name"]: variable["value"] for variable in pod["spec"]["containers"][0]["env"]}
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-I", "-c", _WORKLOAD],
        env=injected | {"AWS_ENDPOINT_URL": demo.aws_url, "HOME": str(demo.folder / "pod")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
    return done.returncode, lines[-1] if lines else ""


def _trust(demo: _Demo) -> dict[str, Any]:
    import boto3  # noqa: PLC0415 - takes long to load, and only the demo needs it here

    iam = boto3.client(
        "iam",
        region_name=REGION,
        endpoint_url=demo.aws_url,
        aws_access_key_id=TARGET_ROLE.split(":")[4],
        aws_secret_access_key="not-verified-here",  # noqa: S106 - the local AWS checks no signatures
    )
    document: dict[str, Any] = iam.get_role(RoleName=TARGET_ROLE.rpartition("/")[2])["Role"]["AssumeRolePolicyDocument"]
    return document


def _why(demo: _Demo) -> str:
    decisions = http_json(f"{demo.aws_url}/_local/decisions")
    return str(decisions[-1]["reason"])


def _contains(after: Any, before: Any) -> bool:
    """Return whether everything in ``before`` is still in ``after``."""
    if isinstance(before, dict):
        return isinstance(after, dict) and all(k in after and _contains(after[k], v) for k, v in before.items())
    if isinstance(before, list):
        return isinstance(after, list) and all(any(_contains(a, b) for a in after) for b in before)
    return bool(after == before)


def _is_ready(port: int, certificate: Path) -> bool:
    context = ssl.create_default_context(cafile=str(certificate))
    try:
        with urllib.request.urlopen(f"https://127.0.0.1:{port}/readyz", timeout=2, context=context):
            return True
    except OSError:
        return False


def _wait(check: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 15
    while not check():
        if time.monotonic() > deadline:
            raise DemoError(f"gave up waiting for {what}")
        time.sleep(0.05)


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1))
