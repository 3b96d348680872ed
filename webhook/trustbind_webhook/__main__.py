"""``python -m trustbind_webhook``: the webhook as a process."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from trustbind import __version__
from trustbind_webhook.server import EXIT_USAGE, run
from trustbind_webhook.settings import SettingsError, load


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the webhook and return its exit code: 0 after a clean stop, 1 when it cannot run, 2 for bad settings."""
    parser = argparse.ArgumentParser(
        prog="python -m trustbind_webhook",
        description="The trustbind admission webhook: gives pods what an AWS SDK needs to use their role.",
        epilog="Every setting can also come from the environment, such as TRUSTBIND_WEBHOOK_SERVER__PORT.",
    )
    parser.add_argument("--config", metavar="FILE", help="YAML file with settings")
    parser.add_argument("--version", action="version", version=f"trustbind {__version__}")
    options = parser.parse_args(arguments)
    try:
        settings = load(options.config)
    except SettingsError as error:
        for sentence in str(error).splitlines():
            sys.stderr.write(f"trustbind webhook: {sentence}\n")
        return EXIT_USAGE
    return run(settings)


if __name__ == "__main__":
    sys.exit(main())
