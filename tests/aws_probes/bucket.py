"""A public S3 bucket that serves an issuer's discovery document and keys, for as long as a run needs it.

STS fetches both over https from wherever the issuer's URL leads, and S3 has a certificate that every client trusts. The
bucket holds these two objects and nothing else, and only they are public. The private keys never leave the process.
"""

from __future__ import annotations

import json
from typing import Final

from botocore.exceptions import ClientError

from aws_probes.issuer import Issuer
from aws_probes.lab import PREFIX, TAG, Clients
from aws_probes.sweep import Report

__all__ = ["create_issuer", "remove_buckets"]

_DISCOVERY: Final = ".well-known/openid-configuration"
_KEYS: Final = "openid/v1/jwks"
_ABSENT: Final = frozenset({"NoSuchTagSet", "NoSuchBucket", "AccessDenied"})
"""Answers to the question for a bucket's tags that mean: not ours."""


def create_issuer(clients: Clients, run: str, region: str) -> Issuer:
    """Create the bucket of a run, publish an issuer in it, and return the issuer.

    Raises:
        botocore.exceptions.ClientError: S3 refused; AccessDenied mostly means that Block Public Access is on for the
            whole AWS account.
    """
    bucket = f"{PREFIX}-{run}"
    issuer = Issuer(f"https://{bucket}.s3.{region}.amazonaws.com")
    place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    clients.call("s3:CreateBucket", {"Bucket": bucket, **place})
    tags = {"TagSet": [{"Key": TAG, "Value": run}]}
    clients.call("s3:PutBucketTagging", {"Bucket": bucket, "Tagging": tags})
    closed = {
        "BlockPublicAcls": True,
        "IgnorePublicAcls": True,
        "BlockPublicPolicy": False,
        "RestrictPublicBuckets": False,
    }
    clients.call("s3:PutPublicAccessBlock", {"Bucket": bucket, "PublicAccessBlockConfiguration": closed})
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": "*",
                "Action": "s3:GetObject",
                "Resource": [f"arn:aws:s3:::{bucket}/{key}" for key in (_DISCOVERY, _KEYS)],
            }
        ],
    }
    clients.call("s3:PutBucketPolicy", {"Bucket": bucket, "Policy": json.dumps(policy)})
    for key, content in ((_DISCOVERY, issuer.discovery()), (_KEYS, issuer.jwks())):
        body = json.dumps(content).encode()
        clients.call("s3:PutObject", {"Bucket": bucket, "Key": key, "Body": body, "ContentType": "application/json"})
    return issuer


def remove_buckets(clients: Clients, report: Report) -> int:
    """Remove the bucket of every run: what has our name and our tag, with the two objects; return how many.

    A bucket that holds anything else is not removed: S3 refuses.

    Raises:
        botocore.exceptions.ClientError: S3 refused.
    """
    removed = 0
    for bucket in (entry["Name"] for entry in clients.call("s3:ListBuckets", {})["Buckets"]):
        if not bucket.startswith(f"{PREFIX}-") or not _is_tagged(clients, bucket):
            continue
        for key in (_DISCOVERY, _KEYS):
            clients.call("s3:DeleteObject", {"Bucket": bucket, "Key": key})
        clients.call("s3:DeleteBucket", {"Bucket": bucket})
        report(f"removed bucket {bucket}")
        removed += 1
    return removed


def _is_tagged(clients: Clients, bucket: str) -> bool:
    try:
        tags = clients.call("s3:GetBucketTagging", {"Bucket": bucket})["TagSet"]
    except ClientError as error:
        if error.response["Error"]["Code"] in _ABSENT:
            return False
        raise
    return any(tag["Key"] == TAG for tag in tags)
