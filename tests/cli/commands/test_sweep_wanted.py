"""What files want of a sweep: the whole truth, or not enough of it."""

from __future__ import annotations

import pytest

from trustbind.errors import InvalidValueError
from trustbind.identity.subjects import Issuer
from trustbind_cli.commands.sweep.wanted import Wanted
from trustbind_cli.files.manifests import Objects

ISSUER = Issuer.parse("https://oidc.example.com")


def test_set_that_binds_nothing_known() -> None:
    """A RoleBindingSet that leads to no binding of the files stops a sweep: what it wants is not known."""
    objects = Objects(ignored=[("RoleBindingSet profiles", "no Namespace of the files has its labels")])

    with pytest.raises(InvalidValueError, match="RoleBindingSet profiles is in the files, and what it binds"):
        Wanted.of_files(objects, ISSUER)


def test_other_objects() -> None:
    """What is ignored besides stops nothing, and service accounts are not known to be all."""
    wanted = Wanted.of_files(Objects(ignored=[("ConfigMap x", "not used here")]), ISSUER)

    assert (wanted.bindings, wanted.service_accounts, wanted.is_gone) == ((), None, False)
