"""Asks the API server, by dry runs, what a pod of an annotated account would get, and whether a binding is taken.

Standard library only. Exit code 0 when all is well; otherwise the last line says what is not.
"""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

FOLDER = Path(os.environ.get("SERVICE_ACCOUNT_FOLDER", "/var/run/secrets/kubernetes.io/serviceaccount"))
SECONDS = float(os.environ.get("CHECK_SECONDS", "60"))


def call(method: str, url: str, body: Mapping[str, object] | None = None, *, trusted: bool = True) -> tuple[int, str]:
    """Return status and body; the webhook's own certificate is not for us to check."""
    context = ssl.create_default_context(cafile=str(FOLDER / "ca.crt"))
    if not trusted:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    headers = {"Content-Type": "application/json"}
    if trusted:
        headers["Authorization"] = f"Bearer {(FOLDER / 'token').read_text()}"
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, headers, method=method)  # noqa: S310 - https, by the chart
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as response:  # noqa: S310 - as above
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def dry_run(path: str, body: Mapping[str, object]) -> tuple[int, str]:
    """Create something by a dry run; return status and body."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    return call("POST", f"https://{host}:{port}{path}?dryRun=All", body)


def ready() -> tuple[bool, str]:
    """Return whether the webhook wants requests, and what to say if not."""
    status, text = call("GET", f"{os.environ['WEBHOOK_URL']}/readyz", trusted=False)
    return status == HTTPStatus.OK, f"the webhook is not ready: {text}"


def injected() -> tuple[bool, str]:
    """Return whether a pod would be injected, and what to say if not."""
    container = {
        "name": "main",
        "image": "none",
        # As much as the strictest policies ask for, so that the pod is refused by none.
        "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"cpu": "1m", "memory": "1Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "trustbind-check-"},
        "spec": {"serviceAccountName": os.environ["ACCOUNT"], "containers": [container]},
    }
    status, text = dry_run(f"/api/v1/namespaces/{os.environ['CHECK_NAMESPACE']}/pods", pod)
    if status != HTTPStatus.CREATED:
        return False, f"the pod is refused ({status}): {text}"
    names = {e["name"] for e in json.loads(text)["spec"]["containers"][0].get("env", [])}
    return "AWS_ROLE_ARN" in names, "the pod is not injected: does the API server reach the webhook?"


def bound() -> tuple[bool, str]:
    """Return whether a binding would be taken, and what to say if not."""
    binding = {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": "RoleBinding",
        "metadata": {"generateName": "trustbind-check-"},
        "spec": {"roleArn": os.environ["ROLE_ARN"], "serviceAccountNames": [os.environ["ACCOUNT"]]},
    }
    path = f"/apis/trustbind.dev/v1alpha1/namespaces/{os.environ['CHECK_NAMESPACE']}/rolebindings"
    status, text = dry_run(path, binding)
    return status == HTTPStatus.CREATED, f"the binding is refused ({status}): {text}"


def main() -> int:
    """Check one thing after the other, each for a while."""
    checks = [("the webhook is ready", ready), ("a pod is injected", injected)]
    if os.environ.get("CHECK_BINDING") == "true":
        checks.append(("a binding is taken", bound))
    for name, check in checks:
        deadline = time.monotonic() + SECONDS
        while True:
            well, problem = check()
            if well:
                print(f"ok: {name}")
                break
            if time.monotonic() > deadline:
                print(problem)
                return 1
            time.sleep(1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
