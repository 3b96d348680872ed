"""``python -m trustbind_localaws``: the local AWS as a process of its own."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import yaml

from trustbind_localaws.local_aws import LocalAws


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m trustbind_localaws",
        description="IAM and STS on 127.0.0.1, strict where AWS is strict. Point SDKs at it with AWS_ENDPOINT_URL; "
        "an access key that is a 12-digit account id acts as that account's root. Signatures are not verified.",
    )
    parser.add_argument("--port", type=int, default=0, help="where to listen (default: a free port)")
    parser.add_argument(
        "--accounts-file",
        type=Path,
        metavar="FILE",
        help="JSON or YAML: accounts, roles, providers and issuers to begin with",
    )
    options = parser.parse_args(arguments)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    aws = LocalAws(options.port)
    try:
        if options.accounts_file is not None:
            aws.seed(yaml.safe_load(options.accounts_file.read_text(encoding="utf-8")) or {})
        aws.start()
    except (OSError, ValueError, yaml.YAMLError) as error:
        sys.stderr.write(f"trustbind-localaws: {error}\n")
        return 1
    sys.stdout.write(f"trustbind-localaws ready on {aws.url}\n")
    sys.stdout.flush()
    stopped.wait()
    aws.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
