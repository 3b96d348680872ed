"""Where the SDKs differ, or do less than one might think: what docs/sdks.md says was seen.

A new release may change any of these. Then the page changes with the test.
"""

from __future__ import annotations

from sdk.programs import AwsCli, Go, JavaScript
from sdk.roles import BASE, CHAIN, PLAIN, REPORTS
from sdk.scene import Scene

THEIR_KEYS = {"AWS_ACCESS_KEY_ID": "999900001111", "AWS_SECRET_ACCESS_KEY": "any"}
THEIR_FILE = "[default]\naws_access_key_id = 999900001111\naws_secret_access_key = any\n"
THEIRS = "arn:aws:iam::999900001111:root"


def test_web_identity_lasts_an_hour(scene: Scene) -> None:
    """No SDK reads a duration for web identity: neither a variable nor a profile asks for one."""
    scene.admit(PLAIN | {"session": {"durationSeconds": 7200}})
    token = scene.environment["AWS_WEB_IDENTITY_TOKEN_FILE"]
    lines = (
        "[profile short]", f"role_arn = {PLAIN['roleArn']}", f"web_identity_token_file = {token}",
        "duration_seconds = 900", "role_session_name = short", "region = eu-central-1", "",
    )  # fmt: skip
    config = scene.file("own-config", "\n".join(lines))

    assert 3500 < scene.lives(scene.run()) <= 3600
    assert 3500 < scene.lives(scene.run("short", AWS_CONFIG_FILE=config)) <= 3600


def test_chain_without_duration(scene: Scene) -> None:
    """A profile without a duration gives a chained session of an hour, in Go of a quarter of an hour."""
    scene.admit(CHAIN)
    lines = (scene.kubelet.folder / "config").read_text(encoding="utf-8").splitlines(keepends=True)
    config = scene.file("own-config", "".join(line for line in lines if "duration_seconds" not in line))

    lives = scene.lives(scene.run(AWS_CONFIG_FILE=config))

    longest = 900 if isinstance(scene.program, Go) else 3600
    assert longest - 100 < lives <= longest


def test_a_region_is_needed(scene: Scene) -> None:
    """Without a region no program comes to an answer, and all say why."""
    scene.admit(PLAIN, region="")

    # Where the endpoint of STS alone is given, Go finds it without a region and then does not sign.
    assert "region" in scene.run(endpoint="AWS_ENDPOINT_URL").error.lower()


def test_keys_beside_a_profile(scene: Scene) -> None:
    """Keys in variables that the webhook cannot see beat a profile, but not in JavaScript."""
    scene.admit(CHAIN)

    answer = scene.run(**THEIR_KEYS)

    assert (answer.arn == THEIRS) == (not isinstance(scene.program, JavaScript)), answer


def test_keys_beside_web_identity(scene: Scene) -> None:
    """Keys in variables that the webhook cannot see beat plain web identity everywhere."""
    scene.admit(PLAIN)

    assert scene.run(**THEIR_KEYS).arn == THEIRS


def test_credentials_file_beside_a_chain(scene: Scene) -> None:
    """A chain is taken from the profile even where a credentials file has keys for a profile of that name."""
    scene.admit(CHAIN)

    answer = scene.run(AWS_SHARED_CREDENTIALS_FILE=scene.file("credentials", THEIR_FILE))

    assert answer.arn == "arn:aws:sts::444455556666:assumed-role/s3-reader/prod.team-a.report-7"


def test_credentials_file_beside_several_roles(scene: Scene) -> None:
    """Keys of a credentials file for a web-identity profile: ignored, used, or made the source of a chain."""
    scene.admit(PLAIN, REPORTS)

    answer = scene.run(AWS_SHARED_CREDENTIALS_FILE=scene.file("credentials", THEIR_FILE))

    match scene.program:
        case JavaScript():
            assert answer.arn == THEIRS
        case Go():
            assert f"User: {THEIRS} is not authorized to perform: sts:AssumeRole" in answer.error
        case _:
            assert answer.arn.startswith("arn:aws:sts::444455556666:assumed-role/s3-reader/")


def test_config_file_beside_web_identity(scene: Scene) -> None:
    """Keys in a config file of the user's lose against plain web identity, but not in JavaScript."""
    scene.admit(PLAIN, env={"AWS_CONFIG_FILE": scene.file("own-config", THEIR_FILE)})

    assert (scene.run().arn == THEIRS) == isinstance(scene.program, JavaScript)


def test_web_identity_variables_beside_a_profile(scene: Scene) -> None:
    """The variables of web identity beat the profile that AWS_PROFILE names in Go, which is why they are left out."""
    scene.admit(CHAIN)
    token = str(scene.kubelet.folder / "token")

    answer = scene.run(AWS_ROLE_ARN=BASE, AWS_WEB_IDENTITY_TOKEN_FILE=token, AWS_ROLE_SESSION_NAME="variables")

    beaten = answer.arn == "arn:aws:sts::111122223333:assumed-role/workload-base/variables"
    assert beaten == isinstance(scene.program, Go), answer


def test_region_variables(scene: Scene) -> None:
    """Python reads AWS_DEFAULT_REGION only, JavaScript AWS_REGION only, which is why both are injected."""
    scene.admit(PLAIN, region="")

    old = scene.run(AWS_DEFAULT_REGION="eu-central-1")
    new = scene.run(AWS_REGION="eu-central-1")

    assert bool(old.arn) == (not isinstance(scene.program, JavaScript)), old
    assert bool(new.arn) == isinstance(scene.program, JavaScript | Go), new


def test_sessions_kept_by_the_cli(scene: Scene) -> None:
    """The CLI keeps its session in the home folder, so the next run asks STS for nothing; the others keep none."""
    scene.admit(CHAIN)

    assert scene.run(home="kept").arn
    scene.aws.forget_decisions()
    assert scene.run(home="kept").arn

    assert (scene.steps() == []) == isinstance(scene.program, AwsCli)


def test_endpoint_of_all_services(scene: Scene) -> None:
    """AWS_ENDPOINT_URL reaches the calls for credentials, but not in Go, which needs AWS_ENDPOINT_URL_STS."""
    scene.admit(PLAIN)

    # What would go to the real STS goes to a proxy that is not there.
    answer = scene.run(endpoint="AWS_ENDPOINT_URL", HTTPS_PROXY="http://127.0.0.1:1", AWS_MAX_ATTEMPTS="1")

    assert bool(answer.arn) != isinstance(scene.program, Go), answer
