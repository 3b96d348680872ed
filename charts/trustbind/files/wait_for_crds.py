"""Wait until the API server serves the kinds of trustbind.dev.

There may be several API servers, so it asks several times. Standard library only. Exit code 0 when they are served;
otherwise the last line says what the answer was.
"""

import json
import os
import ssl
import sys
import time
import urllib.request
from pathlib import Path

FOLDER = Path(os.environ.get("SERVICE_ACCOUNT_FOLDER", "/var/run/secrets/kubernetes.io/serviceaccount"))
SECONDS = float(os.environ.get("WAIT_SECONDS", "60"))
KINDS = {"AWSAccount", "RoleGrant", "RoleBinding"}
IN_A_ROW = 3


def missing() -> str:
    """Return which kinds are not served, or what went wrong; empty: all are served."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    try:
        context = ssl.create_default_context(cafile=str(FOLDER / "ca.crt"))
        headers = {"Authorization": f"Bearer {(FOLDER / 'token').read_text()}"}
        url = f"https://{host}:{port}/apis/trustbind.dev/v1alpha1"
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=10, context=context) as response:  # noqa: S310 - https, by the lines above
            served = {resource["kind"] for resource in json.load(response)["resources"]}
    except (OSError, ValueError) as error:
        return f"trustbind.dev/v1alpha1 is not served: {error}"
    return "".join(f"{kind} is not served\n" for kind in sorted(KINDS - served))


def main() -> int:
    """Ask until the answer is yes several times in a row."""
    deadline = time.monotonic() + SECONDS
    well = 0
    while True:
        problem = missing()
        well = 0 if problem else well + 1
        if well == IN_A_ROW:
            return 0
        if problem and time.monotonic() > deadline:
            print(problem.strip())
            return 1
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
