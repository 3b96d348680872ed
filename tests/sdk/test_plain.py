"""One role by web identity: variables name the role and the token."""

from __future__ import annotations

import pytest

from sdk.roles import PLAIN, READER
from sdk.scene import Scene
from trustbind.identity.subjects import Subject

WEB_IDENTITY = "AssumeRoleWithWebIdentity"


def test_web_identity(scene: Scene) -> None:
    """The program has the role, under a session name that says which pod it is, for an hour, in the region."""
    scene.admit(PLAIN)

    answer = scene.run()

    assert answer.arn == "arn:aws:sts::444455556666:assumed-role/s3-reader/team-a.reader.report-7"
    assert scene.steps() == [(WEB_IDENTITY, READER, "team-a.reader.report-7", True)]
    assert 3500 < scene.lives(answer) <= 3600
    assert answer.region in ("eu-central-1", "")


def test_session_name_from_a_template(scene: Scene) -> None:
    """The binding's template names the session."""
    scene.admit(PLAIN | {"session": {"name": "{cluster}-{serviceAccount}"}})

    assert scene.run().arn == "arn:aws:sts::444455556666:assumed-role/s3-reader/prod-reader"


def test_token_of_another_account(scene: Scene) -> None:
    """A token of another service account is refused, and the program says so; it finds no other credentials."""
    scene.admit(PLAIN)
    scene.kubelet.sync(subject=Subject("team-a", "writer"))

    answer = scene.run()

    assert "AccessDenied" in answer.error
    assert "Not authorized to perform sts:AssumeRoleWithWebIdentity" in answer.error
    assert scene.steps() == [(WEB_IDENTITY, READER, "team-a.reader.report-7", False)]


def test_token_of_another_audience(scene: Scene) -> None:
    """The token has the binding's audience."""
    scene.admit(PLAIN | {"audience": "reports.example"})

    assert scene.run().arn
    assert [d.audience for d in scene.decisions()] == [("reports.example",)]


def test_rotated_token(scene: Scene) -> None:
    """When the token has expired it is refused; once the kubelet has replaced it, the new one is used."""
    scene.admit(PLAIN | {"token": {"expirationSeconds": 600}})
    assert scene.run().arn
    scene.advance(700)

    assert "ExpiredToken" in scene.run().error
    scene.kubelet.sync(now=scene.now)

    assert scene.run().arn
    assert [allowed for *_, allowed in scene.steps()] == [True, False, True]


@pytest.mark.parametrize("variable", ["AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"])
def test_own_variables_win(scene: Scene, variable: str) -> None:
    """A container that brings one of the pair keeps it, and gets nothing that would make it ours."""
    scene.admit(PLAIN, env={variable: "mine"})

    assert scene.environment[variable] == "mine"
    assert {"AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"} & scene.environment.keys() == {variable}
    assert not scene.run().arn
