"""A chain, or several roles: an AWS config file in the volume names them, and variables point at the file."""

from __future__ import annotations

import json

import boto3
import pytest

from sdk.roles import BASE, CHAIN, PLAIN, READER, REPORTS, REPORTS_ROLE
from sdk.scene import Scene
from trustbind.identity.subjects import Subject

WEB_IDENTITY = "AssumeRoleWithWebIdentity"
ASSUME_ROLE = "AssumeRole"
CHAINED = "arn:aws:sts::444455556666:assumed-role/s3-reader/prod.team-a.report-7"


def test_chain(scene: Scene) -> None:
    """The program has account B's role; both steps carry the session name, and the last one the duration."""
    scene.admit(CHAIN)

    answer = scene.run()

    assert answer.arn == CHAINED
    decisions = scene.decisions()
    assert [(d.operation, d.role_arn, d.session_name) for d in decisions] == [
        (WEB_IDENTITY, BASE, "prod.team-a.report-7"),
        (ASSUME_ROLE, READER, "prod.team-a.report-7"),
    ]
    assert decisions[1].caller == "arn:aws:sts::111122223333:assumed-role/workload-base/prod.team-a.report-7"
    assert 1700 < scene.lives(answer) <= 1800


def test_chain_carries_the_external_id(scene: Scene) -> None:
    """The role in account B sees the binding's external id: when it wants another one, the second step is refused."""
    scene.admit(CHAIN)
    change_external_id(scene, "another/4712")

    answer = scene.run()

    assert "AccessDenied" in answer.error
    assert scene.steps() == [
        (WEB_IDENTITY, BASE, "prod.team-a.report-7", True),
        (ASSUME_ROLE, READER, "prod.team-a.report-7", False),
    ]


def test_chain_with_a_token_of_another_account(scene: Scene) -> None:
    """A token of another service account is refused at the first step, and there is no second."""
    scene.admit(CHAIN)
    scene.kubelet.sync(subject=Subject("team-a", "writer"))

    assert "Not authorized to perform sts:AssumeRoleWithWebIdentity" in scene.run().error
    assert scene.steps() == [(WEB_IDENTITY, BASE, "prod.team-a.report-7", False)]


def test_chain_with_a_rotated_token(scene: Scene) -> None:
    """When the token has expired it is refused; once the kubelet has replaced it, the new one is used."""
    scene.admit(CHAIN | {"token": {"expirationSeconds": 600}})
    assert scene.run().arn
    scene.advance(700)

    assert "ExpiredToken" in scene.run().error
    scene.kubelet.sync(now=scene.now)

    assert scene.run().arn == CHAINED


def test_several_roles(scene: Scene) -> None:
    """Without a choice the program has the default profile's role, and with one that profile's; each in its region."""
    scene.admit(PLAIN, REPORTS)

    default, reports = scene.run(), scene.run("reports")

    assert default.arn == "arn:aws:sts::444455556666:assumed-role/s3-reader/team-a.reader.report-7"
    assert default.region in ("eu-central-1", "")
    assert reports.arn == "arn:aws:sts::111122223333:assumed-role/reports/team-a.reader.report-7"
    assert reports.region in ("us-west-2", "")
    assert [(d.role_arn, d.audience) for d in scene.decisions()] == [
        (READER, ("sts.amazonaws.com",)),
        (REPORTS_ROLE, ("reports.example",)),
    ]


def test_profile_chosen_by_variable(scene: Scene) -> None:
    """A user who sets AWS_PROFILE to one of the profiles gets its role."""
    scene.admit(PLAIN, REPORTS)

    assert scene.run(AWS_PROFILE="reports").arn.startswith("arn:aws:sts::111122223333:assumed-role/reports/")


def test_profile_chosen_in_the_pod(scene: Scene) -> None:
    """A container that sets AWS_PROFILE itself to one of the profiles gets the rest, and its program that role."""
    scene.admit(PLAIN, REPORTS, env={"AWS_PROFILE": "reports"})

    assert scene.findings == ()
    assert scene.run().arn.startswith("arn:aws:sts::111122223333:assumed-role/reports/")


def test_chain_beside_another_role(scene: Scene) -> None:
    """Of two named profiles each is there when it is chosen; without a choice there is none."""
    scene.admit(CHAIN | {"profile": "far"}, REPORTS)

    assert "AWS_PROFILE" not in scene.environment
    assert scene.run("far").arn == CHAINED
    assert scene.run("reports").arn.startswith("arn:aws:sts::111122223333:assumed-role/reports/")
    scene.aws.forget_decisions()
    # Nor does a node answer: without this the machine's own role might.
    assert scene.run(AWS_EC2_METADATA_DISABLED="true").error
    assert scene.steps() == []


def test_only_a_named_profile(scene: Scene) -> None:
    """The only profile there is needs no choice, whatever its name."""
    scene.admit(REPORTS)

    assert scene.environment["AWS_PROFILE"] == "reports"
    assert scene.run().arn.startswith("arn:aws:sts::111122223333:assumed-role/reports/")


@pytest.mark.parametrize("specs", [(CHAIN,), (PLAIN, REPORTS)], ids=["chain", "several"])
def test_own_config_file_wins(scene: Scene, specs: tuple[dict[str, object], ...]) -> None:
    """A container that brings a config file keeps it: the program is who the file says, and the user is told."""
    text = "[default]\naws_access_key_id = 999900001111\naws_secret_access_key = any\nregion = us-east-1\n"
    path = scene.file("own-config", text)
    scene.admit(*specs, env={"AWS_CONFIG_FILE": path})

    assert scene.environment == {"AWS_CONFIG_FILE": path}
    assert scene.run().arn == "arn:aws:iam::999900001111:root"
    assert scene.steps() == []
    assert any("sets AWS_CONFIG_FILE itself" in finding for finding in scene.findings)


def change_external_id(scene: Scene, external_id: str) -> None:
    """Let the target role want another external id than its binding has."""
    iam = boto3.client(
        "iam",
        region_name="us-east-1",
        endpoint_url=scene.aws.url,
        aws_access_key_id=READER.split(":")[4],
        aws_secret_access_key="any",
    )
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": BASE},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": external_id}},
    }
    iam.update_assume_role_policy(
        RoleName="s3-reader", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    )
    iam.close()
