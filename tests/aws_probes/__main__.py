"""Probes of AWS: ``python -m aws_probes --account-id 111122223333``; see README.md."""

from __future__ import annotations

import argparse
import os
import re
import secrets
import string
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from aws_probes import known
from aws_probes.bucket import create_issuer, remove_buckets
from aws_probes.catalog import PROBES
from aws_probes.comparison import differences_of
from aws_probes.issuer import Issuer
from aws_probes.lab import Clients, Lab, Pace, Place, Sleep
from aws_probes.local import LocalLab
from aws_probes.model import Need, Probe
from aws_probes.plan_text import described
from aws_probes.sweep import Sweep
from aws_probes.vectors import AWS, LOCAL, Vector, write

__all__ = ["main"]

VARIABLE: Final = "TRUSTBIND_PROBE_ACCOUNT_ID"
_VECTORS: Final = Path(__file__).parents[1] / "data" / "aws-vectors"
_PATIENCE: Final = 60.0
"""Seconds for which a call is repeated until an earlier write shows."""
_SECOND_LOOK: Final = 5.0
"""Seconds between two looks for what is left: IAM's lists may lack what was created just before."""
_LEFT: Final = "something may be left; run it with --sweep"
_AGREED, _DIFFERED, _REFUSED, _INTERRUPTED = 0, 1, 2, 130


class RefusedError(Exception):
    """The run must not begin; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class _Entered:
    """An AWS account that may be used."""

    clients: Clients
    place: Place
    region: str
    sleep: Sleep


def main(arguments: Sequence[str] | None = None, sleep: Sleep = time.sleep) -> int:
    """Run what the command line asks for, and return the exit code: 0 agreed, 1 differed, 2 refused, 130 stopped."""
    options = _options(arguments)
    probes = _chosen(options.only)
    if options.local:
        return _run_locally(probes, options.vectors)
    met = frozenset(
        need for need, is_met in ((Need.ISSUER, options.issuer_bucket), (Need.CLUSTER, options.eks_cluster)) if is_met
    )
    session = boto3.Session()
    if not options.account_id or session.get_credentials() is None:
        print(described(probes, met, options.calls_per_second))
        why = "there are no AWS credentials" if options.account_id else "--account-id is missing"
        print(f"Nothing was called: {why}. To run, give credentials of a sandbox account and --account-id.")
        return _AGREED
    try:
        entered = _enter(session, options, sleep)
        return _run([probe for probe in probes if probe.needs <= met], entered, options)
    except RefusedError as error:
        print(f"refused: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"stopped while removing; {_LEFT}", file=sys.stderr)
        return _INTERRUPTED
    except (BotoCoreError, ClientError) as error:
        print(f"failed: {error}; {_LEFT}", file=sys.stderr)
    return _REFUSED


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m aws_probes",
        description="Compare what trustbind assumes of AWS with what AWS answers, in a sandbox account. Without "
        "--account-id or credentials: say what a run would do and cost.",
    )
    parser.add_argument("--account-id", default=os.environ.get(VARIABLE, ""), help=f"of the sandbox; or {VARIABLE}")
    parser.add_argument("--only", nargs="+", metavar="PROBE", default=[], help="run these probes alone")
    parser.add_argument("--issuer-bucket", action="store_true", help="make a public S3 bucket with an OIDC issuer")
    parser.add_argument(
        "--eks-cluster", default="", metavar="NAME", help="an EKS cluster in the region, for associations"
    )
    parser.add_argument("--calls-per-second", type=_rate, default=2.0, help="at most (default: 2)")
    parser.add_argument("--vectors", type=Path, default=_VECTORS, help="folder for what was observed")
    parser.add_argument("--sweep", action="store_true", help="only remove what earlier runs left")
    parser.add_argument("--local", action="store_true", help="ask the local AWS instead")
    options = parser.parse_args(arguments)
    if options.account_id and not re.fullmatch(r"[0-9]{12}", options.account_id):
        parser.error(f"--account-id {options.account_id!r} has not 12 digits")
    return options


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 20:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and up to 20")
    return rate


def _chosen(names: Sequence[str]) -> list[Probe]:
    if unknown := sorted(set(names) - {probe.name for probe in PROBES}):
        raise SystemExit(f"there is no probe {', '.join(unknown)}; run without --account-id for a list")
    return [probe for probe in PROBES if not names or probe.name in names]


def _enter(session: boto3.Session, options: argparse.Namespace, sleep: Sleep) -> _Entered:
    """Return access to the AWS account.

    Raises:
        RefusedError: it is another account than the one named, or the identity cannot be used.
    """
    if not session.region_name:
        raise RefusedError("there is no region; set AWS_REGION or a profile's region")
    clients = Clients(session, Pace(options.calls_per_second, time.monotonic, sleep))
    identity = clients.call("sts:GetCallerIdentity", {})
    if identity["Account"] != options.account_id:
        raise RefusedError(
            f"the credentials are of AWS account {identity['Account']}, and --account-id is {options.account_id}; "
            "use the sandbox's credentials"
        )
    if not identity["Arn"].startswith("arn:aws:"):
        raise RefusedError(f"{identity['Arn']} is not of partition aws, for which the documents are written")
    if identity["Arn"].endswith(":root") and clients.is_aws():
        raise RefusedError("root cannot assume roles; use a role or user of the sandbox")
    caller = "" if identity["Arn"].endswith(":root") else identity["Arn"]
    run = "".join(secrets.choice(string.ascii_lowercase) for _ in range(8))
    return _Entered(
        clients, Place(options.account_id, caller, run, cluster=options.eks_cluster), session.region_name, sleep
    )


def _run(probes: Sequence[Probe], entered: _Entered, options: argparse.Namespace) -> int:
    with_buckets = bool(options.issuer_bucket)
    _sweep(
        entered, with_buckets=with_buckets or (options.sweep and entered.clients.is_aws())
    )  # the local AWS has no S3
    if options.sweep:
        return _AGREED
    differed = 0
    try:
        issuer = create_issuer(entered.clients, entered.place.run, entered.region) if options.issuer_bucket else None
        for number, probe in enumerate(probes):
            differed += _probe(probe, number, entered, issuer, options.vectors)
            _sweep(entered)
    except KeyboardInterrupt:
        print("stopped; removing what was created", file=sys.stderr)
        return _INTERRUPTED
    finally:
        _sweep(entered, with_buckets=with_buckets)
        entered.sleep(_SECOND_LOOK)
        _sweep(entered)
    print(f"{len(probes)} probes, {differed} of them answered otherwise than assumed; vectors in {options.vectors}")
    return _DIFFERED if differed else _AGREED


def _probe(probe: Probe, number: int, entered: _Entered, issuer: Issuer | None, folder: Path) -> bool:
    """Run a probe, write its vector, and return whether anything was answered otherwise than assumed."""
    # A name of its own for each probe: IAM may show a deleted role for a while.
    place = replace(entered.place, run=f"{entered.place.run}{number:02}", issuer=issuer.host_path if issuer else "")
    answers = Lab(entered.clients, place, issuer, time.monotonic, entered.sleep, _PATIENCE).run(probe)
    is_aws = entered.clients.is_aws()
    observed_on = datetime.now(UTC).date().isoformat() if is_aws else ""
    write(folder, Vector(probe, answers, AWS if is_aws else LOCAL, observed_on))
    return _report(probe, [str(each) for each in differences_of(probe, answers)])


def _report(probe: Probe, differences: Sequence[str]) -> bool:
    print(f"{'differs' if differences else 'agrees '} {probe.name}", flush=True)
    for line in differences:
        print(f"    {line}")
    return bool(differences)


def _sweep(entered: _Entered, *, with_buckets: bool = False) -> None:
    Sweep(entered.clients, entered.place.cluster, print).all()
    if with_buckets:
        remove_buckets(entered.clients, print)


def _run_locally(probes: Sequence[Probe], folder: Path) -> int:
    """Write the vectors of the local AWS, in place of its earlier ones; AWS's own stay. Known differences agree."""
    differed = 0
    with LocalLab.started() as lab:
        for probe in probes:
            answers = lab.run(probe)
            found = [each for each in differences_of(probe, answers) if (probe.name, each.label) not in known.LOCAL]
            differed += bool(found) and _report(probe, [str(each) for each in found])
            path = folder / f"{probe.name}.json"
            if not path.exists() or f'"observed_at": "{AWS}"' not in path.read_text(encoding="utf-8"):
                write(folder, Vector(probe, answers, LOCAL))
    return _DIFFERED if differed else _AGREED


if __name__ == "__main__":
    sys.exit(main())
