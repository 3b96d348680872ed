"""Runs of many roles that are interleaved at every await, by seed."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import Iterator

import pytest

from support.association_scene import AssociationScene, pod_identity_body
from support.bodies import ACCOUNT, ISSUER, ROLE
from trustbind.errors import AccessDeniedError, AwsError, ThrottledError, UnreachableError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind.policy.pod_identity import BINDING_TAG
from trustbind.policy.pod_identity_association import Association, is_ours
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_aws.permits import NotLeadingError
from trustbind_operator.controllers.context import Next

ROLES = [ROLE, *(RoleArn.parse(f"arn:aws:iam::{ACCOUNT}:role/r{n}") for n in range(5))]
NAMESPACES = ["team-a", "team-b", "team-c"]
NAMES = ["s0", "s1", "s2", "s3", "s4"]
CALLS = ["listed", "described", "create", "change", "tag", "untag", "delete"]
ERRORS = [
    ThrottledError("Rate exceeded", code="ThrottlingException", operation="eks:Any"),
    UnreachableError("no answer", operation="eks:Any"),
    AccessDeniedError("no", code="AccessDeniedException", operation="eks:Any"),
    AwsError("too late", code="ResourceInUseException", operation="eks:Any"),
]


class Interleaving:
    """Users who change bindings, EKS that fails, and runs of all roles, which take random times."""

    def __init__(self, scene: AssociationScene, seed: int) -> None:
        self.scene = scene
        self.random = random.Random(seed)  # noqa: S311 - a test's seed
        self.locks = {role: asyncio.Lock() for role in ROLES}
        self.is_calm = False
        self.made = 0
        self.moved: set[str] = set()
        self.foreign: dict[Subject, Association] = {}

    async def pause(self) -> None:
        """Let other tasks go on; check that nothing foreign was changed."""
        there = self.scene.eks.there
        assert all(there[subject] == association for subject, association in self.foreign.items())
        await asyncio.sleep(self.random.choice((0.0, 0.0, 0.1, 1.0)) * self.random.random())

    def deadline(self) -> float:
        """Be a guard of a process that loses its Lease at times."""
        if not self.is_calm and self.random.random() < 0.05:
            raise NotLeadingError("the Lease was lost")
        return math.inf

    def change(self) -> None:
        """Create, change or delete a binding, or let EKS fail."""
        scene, rng = self.scene, self.random
        live = [b for b in scene.bodies.values() if not b["metadata"].get("deletionTimestamp")]
        body = rng.choice(live) if live else None
        metadata = body["metadata"] if body is not None else {}
        where = {"name": metadata.get("name", ""), "namespace": metadata.get("namespace", "")}
        match rng.randrange(8):
            case 0 | 1:
                self._create()
            case 2 if body is not None:
                scene.change(**where, serviceAccountNames=rng.sample(NAMES, 2))
            case 3 if body is not None:
                self.moved.add(metadata["uid"])
                scene.change(**where, method=rng.choice(("WebIdentity", "PodIdentity")))
            case 4 if body is not None:
                scene.delete(**where)
                if not metadata.get("finalizers"):
                    del scene.bodies[f"{where['namespace']}/{where['name']}"]
            case 5:
                scene.eks.errors.setdefault(rng.choice(CALLS), []).append(rng.choice(ERRORS))
            case 6 if body is not None:
                body.pop("status", None)  # as if it had never been written
                metadata["generation"] += 1
            case 7 if body is not None:
                self.moved.add(metadata["uid"])
                scene.change(**where, roleArn=str(rng.choice(ROLES)))

    def _create(self) -> None:
        rng = self.random
        self.made += 1
        self.scene.has_binding(
            pod_identity_body(
                f"b{self.made}",
                rng.choice(NAMESPACES),
                created=f"2026-01-01T00:00:{rng.randrange(60):02}Z",
                metadata={"uid": f"uid-{self.made}"},
                roleArn=str(rng.choice(ROLES)),
                serviceAccountNames=rng.sample(NAMES, rng.randint(1, 3)),
                deletionPolicy=rng.choice(("Revoke", "Revoke", "Retain")),
            )
        )

    async def reconcile(self, role: RoleArn) -> Next:
        """Run one role; no two runs of it overlap."""
        async with self.locks[role]:
            try:
                return await self.scene.reconcile(role, self)
            except NotLeadingError:
                return Next.RETRY

    async def work(self, role: RoleArn) -> None:
        """Run one role again and again."""
        while not self.is_calm:
            await self.reconcile(role)
            await self.pause()

    async def restart(self) -> None:
        """Start the controller anew once no run is under way."""
        async with contextlib.AsyncExitStack() as stack:
            for lock in self.locks.values():
                await stack.enter_async_context(lock)
            self.scene.restart()

    def released(self, stored: StoredBinding) -> None:
        """Check that nothing is left that was made for a binding which is released.

        Of one that changed its role or method, only a search for orphans may know after a restart.
        """
        assert stored.binding is not None
        if stored.uid in self.moved:
            return
        made_for = (str(stored.ref), str(stored.binding.role))
        there = [a for a in self.scene.eks.there.values() if is_ours(a, ISSUER)]
        assert made_for not in {(a.tags[BINDING_TAG], a.role) for a in there}

    async def search(self) -> None:
        """Search for orphans again and again."""
        while not self.is_calm:
            with contextlib.suppress(AwsError):
                await self.scene.controller.survey(ACCOUNT)
            await asyncio.sleep(5)

    async def play(self) -> None:
        """Change things for a while, then let everything settle, and look."""
        scene = self.scene
        for namespace in NAMESPACES:
            subject = Subject(namespace, self.random.choice(NAMES))
            self.foreign[subject] = scene.eks.has(subject, self.random.choice(ROLES), {"owner": "ops"})
        scene.roles = dict.fromkeys(ROLES, scene.roles[ROLE])
        scene.eks.pause = self.pause
        scene.before_release = self.released
        async with asyncio.TaskGroup() as tasks:
            for role in ROLES:
                tasks.create_task(self.work(role))
            tasks.create_task(self.search())
            for _ in range(120):
                self.change()
                await self.pause()
                if self.random.random() < 0.05:
                    await self.restart()
            self.is_calm = True
        scene.eks.errors.clear()
        for _ in range(4):
            await asyncio.gather(*(self.reconcile(role) for role in ROLES))
        for role in await scene.controller.survey(ACCOUNT):
            await self.reconcile(role)
        scene.eks.calls.clear()
        await asyncio.gather(*(self.reconcile(role) for role in ROLES))
        self.check()

    def check(self) -> None:
        """Compare the associations with the decisions."""
        scene = self.scene
        there = scene.eks.there
        ours = {s: a.role for s, a in there.items() if is_ours(a, ISSUER)}
        wanted = {
            subject: str(role)
            for role in ROLES
            for decision in scene.decide(role)
            if decision.cluster is not None
            for subject in decision.subjects
            if subject not in there or is_ours(there[subject], ISSUER)
        }
        assert ours == wanted
        assert not [name for name, body in scene.bodies.items() if body["metadata"].get("deletionTimestamp")]
        assert scene.eks.written == 0


@pytest.fixture
def scene() -> Iterator[AssociationScene]:
    """Return a scene."""
    made = AssociationScene()
    yield made
    made.close()


@pytest.mark.parametrize("seed", range(25))
def test_many_roles_at_once(scene: AssociationScene, seed: int) -> None:
    """Nothing foreign is changed at any time, and once all is quiet, associations equal the decisions."""
    scene.play(Interleaving(scene, seed).play())
