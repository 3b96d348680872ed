"""Print who the default credentials of boto3 are, as one line of JSON; an argument names the profile."""

import json
import sys

import boto3
from botocore.exceptions import BotoCoreError, ClientError


def main() -> int:
    """Return 0 with ``arn``, ``expires`` and ``region`` printed, or 1 with ``error``."""
    try:
        session = boto3.Session(profile_name=sys.argv[1] if len(sys.argv) > 1 else None)
        sts = session.client("sts")
        arn = sts.get_caller_identity()["Arn"]
        credentials = session.get_credentials()
        # The date is not public; without it nobody could tell how long the session was asked to be.
        expires = getattr(credentials, "_expiry_time", None)
        said = {"arn": arn, "expires": expires and expires.isoformat(), "region": sts.meta.region_name}
    except (BotoCoreError, ClientError) as error:
        said = {"error": str(error)}
    sys.stdout.write(json.dumps(said) + "\n")
    return int("error" in said)


if __name__ == "__main__":
    sys.exit(main())
