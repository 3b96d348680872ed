"""The files of the guides, applied as they stand to a real API server with both halves: what the pages promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.guide_scene import WHOAMI, Guide
from support.halves import Operator
from support.processes import eventually
from support.world import FOREIGN, SECONDS, World
from trustbind.identities import Issuer
from trustbind.source_policies import policy_name

pytestmark = pytest.mark.usefixtures("operator", "webhook")

OURS, SHARED, PARTNER = "444455556666", "111122223333", "777788889999"
FEED = f"arn:aws:iam::{PARTNER}:role/feed"
BASE = f"arn:aws:iam::{SHARED}:role/workloads/base"


Opens = Callable[[str], Guide]


@pytest.fixture
def open_guide(world: World, operator: Operator, tmp_path: Path) -> Iterator[Opens]:
    """Return what opens a page in an empty namespace ``team-a``; what it applies is removed."""
    opened: list[Guide] = []

    def opens(page: str) -> Guide:
        guide = Guide(world, page, tmp_path)
        opened.append(guide)
        guide.namespace()
        return guide

    yield opens
    if not operator.running:  # bindings go by its hand
        operator.start()
    for guide in opened:
        guide.clear()


def test_chain(open_guide: Opens) -> None:
    """chains.md: Ready with its message, the pod's program is the target role, and all goes from the near end."""
    guide = open_guide("chains.md")
    near, far = guide.account(SHARED), guide.account(PARTNER, chains=False)
    near.role("base", path="/workloads/")
    far.role("feed")
    guide.apply("platform.yaml", "feed.yaml", "pod.yaml")
    binding = guide.binding("partner-feed")

    message = binding.ready()["message"]

    page = guide.page.read_text(encoding="utf-8")
    assert message == f"{FEED} trusts {BASE}, which trusts 1 service account of this binding"
    assert message in page
    done = guide.program(guide.pod("pod.yaml"))
    assert done.stdout.split()[0] == f"arn:aws:sts::{PARTNER}:assumed-role/feed/team-a.reader.import-7", done.stderr
    name = policy_name(Issuer(guide.world.issuer))
    assert near.iam.list_role_policies(RoleName="base")["PolicyNames"] == [name]
    binding.delete()
    binding.gone()
    assert near.statements("base") == far.statements("feed") == [FOREIGN]
    assert near.iam.list_role_policies(RoleName="base")["PolicyNames"] == []
    guide.forget(near, "base")
    guide.forget(far, "feed")


def test_chain_half_way(open_guide: Opens) -> None:
    """chains.md: what lacks is told with the role's place in the chain, and the chain is finished once it is there."""
    guide = open_guide("chains.md")
    near, far = guide.account(SHARED, chains=False), guide.account(PARTNER, chains=False)
    far.role("feed")
    guide.apply("platform.yaml", "feed.yaml")
    binding = guide.binding("partner-feed")

    binding.refused("PolicyRejected")
    near.role("base", path="/workloads/")
    told = binding.refused("AccessDenied")["message"]

    assert told.startswith(f"source role {BASE}: iam:GetRolePolicy on {BASE}: ")
    assert "managePermission: false" in told
    assert near.statements("base") == [FOREIGN]
    assert len(far.owned("feed")) == 1
    binding.patch(source={"managePermission": False})
    binding.ready()
    binding.delete()
    binding.gone()
    assert near.statements("base") == far.statements("feed") == [FOREIGN]
    guide.forget(near, "base")
    guide.forget(far, "feed")


def test_source_made_again(open_guide: Opens) -> None:
    """chains.md: a source role that was deleted and created again is let in anew, without anybody's help."""
    guide = open_guide("chains.md")
    near, far = guide.account(SHARED), guide.account(PARTNER)
    near.role("base", path="/workloads/")
    far.role("feed")
    guide.apply("platform.yaml", "feed.yaml")
    guide.binding("partner-feed").ready()

    guide.forget(near, "base")
    (stale,) = far.owned("feed")
    assert stale["Principal"]["AWS"] != BASE
    near.role("base", path="/workloads/")

    eventually(lambda: near.subjects("base") == ["team-a:reader"], "the source lets in again", seconds=SECONDS)
    eventually(lambda: far.owned("feed")[0]["Principal"] == {"AWS": BASE}, "the name is back", seconds=SECONDS)
    guide.binding("partner-feed").ready()
    guide.forget(near, "base")
    guide.forget(far, "feed")


def test_several_roles(open_guide: Opens) -> None:
    """several-roles.md: a role and a region for each profile, and of two bindings of one profile the older one."""
    guide = open_guide("several-roles.md")
    account = guide.account(OURS)
    for role in ("s3-reader", "archive", "second"):
        account.role(role, path="/team-a/")
    guide.describe(OURS)
    guide.apply("bindings.yaml", "pod.yaml")
    guide.binding("s3-reader").ready()
    guide.binding("archive").ready()

    pod = guide.pod("pod.yaml")

    session = "team-a.reader.report-7"
    sts = f"arn:aws:sts::{OURS}:assumed-role"
    assert guide.program(pod).stdout.split() == [f"{sts}/s3-reader/{session}", "eu-central-1"]
    assert guide.program(pod, WHOAMI, "archive").stdout.split() == [f"{sts}/archive/{session}", "us-west-2"]
    assert guide.program(pod, AWS_PROFILE="archive").stdout.split() == [f"{sts}/archive/{session}", "us-west-2"]

    second = guide.like("archive", "second", roleArn=account.arn("second", "/team-a/"))
    message = second.refused("ProfileConflict")["message"]
    assert message in guide.page.read_text(encoding="utf-8")
    guide.binding("archive").ready()
    guide.forget(account, "s3-reader", "archive", "second")
