"""The user's kubeconfig, read by the Kubernetes client, and what is wrong with one that cannot be used.

The client's own messages are not shown: some hold the whole entry of a user, with its token.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml
from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException

from trustbind.errors import TrustbindError

__all__ = ["NoClusterError", "load", "namespace_of"]

_load: Final[Callable[..., Awaitable[object]]] = config.load_kube_config
_contexts: Final[Callable[[str], tuple[list[Any], Any]]] = config.list_kube_config_contexts

_USUAL: Final = "~/.kube/config"
_NO_OBJECT = re.compile(
    r"Invalid kube-config file\. Expected object with name (\S{0,253}) in .*(context|cluster|user)s list"
)
_NO_FILE = re.compile(r"File does not exists: (.{1,1024})")
_NO_CURRENT: Final = "Expected key current-context"
_OIDC: Final = "oidc:"
_NO_FORM: Final = "it does not have the form of a kubeconfig"


class NoClusterError(TrustbindError):
    """There is no way to an API server; ``str()`` of it is one sentence.

    Attributes:
        is_absent: whether there is no kubeconfig, or none with the context; else one cannot be used.
    """

    def __init__(self, problem: str, *, is_absent: bool = False) -> None:
        super().__init__(problem)
        self.is_absent = is_absent


async def load(kubeconfig: str, context: str | None, into: Configuration) -> None:
    """Read a kubeconfig into the configuration of a client.

    Args:
        kubeconfig: a file; empty for those of KUBECONFIG, else the usual one.
        context: its name; None for the current one.
        into: changed.

    Raises:
        NoClusterError: it cannot be used.
    """
    with _usable(kubeconfig) as paths:
        await _load(paths, context=context, client_configuration=into, persist_config=False)


def namespace_of(kubeconfig: str, context: str | None) -> str:
    """Return the namespace of a context; empty where it names none.

    Args:
        kubeconfig: as of `load`.
        context: as of `load`.

    Raises:
        NoClusterError: it cannot be used, or has no such context.
    """
    with _usable(kubeconfig) as paths:
        contexts, current = _contexts(paths)
        chosen = current if context is None else next((each for each in contexts if each["name"] == context), None)
        if chosen is None:
            raise NoClusterError(
                f"the kubeconfig {paths} cannot be used: {_no_object('context', str(context))}", is_absent=True
            )
        return str((chosen.get("context") or {}).get("namespace") or "")


@contextmanager
def _usable(kubeconfig: str) -> Iterator[str]:
    """Give the files to read, and turn what is wrong with them into one sentence."""
    paths = kubeconfig or os.environ.get("KUBECONFIG", "") or _USUAL
    what = f"the kubeconfig {paths} cannot be used"
    # Only of KUBECONFIG more than one, as kubectl has it.
    files = [Path(each).expanduser() for each in ([kubeconfig] if kubeconfig else paths.split(os.pathsep)) if each]
    if folder := next((each for each in files if each.is_dir()), None):
        raise NoClusterError(f"the kubeconfig {folder} cannot be used: it is a directory; name a file")
    if not any(each.exists() for each in files):
        # The servers name a kubeconfig by a setting: --kubeconfig is advice for the command line alone.
        advice = "" if kubeconfig else "; give one with --kubeconfig or KUBECONFIG"
        raise NoClusterError(f"{what}: there is no such file{advice}", is_absent=True)
    try:
        yield paths
    except ConfigException as error:
        message = str(error)
        raise NoClusterError(f"{what}: {_problem(message)}", is_absent=_lacks_context(message)) from None
    except yaml.YAMLError as error:
        raise NoClusterError(f"{what}: it is not YAML{_line(error)}") from None
    except UnicodeDecodeError:
        raise NoClusterError(f"{what}: it is not text in UTF-8") from None
    except ssl.SSLError as error:
        reason = f" ({error.reason})" if error.reason else ""
        raise NoClusterError(f"{what}: a certificate or key in it cannot be used{reason}") from None
    except OSError as error:
        name = f" {error.filename}" if error.filename else ""
        raise NoClusterError(
            f"{what}: the file{name} cannot be read: {error.strerror or type(error).__name__}"
        ) from None
    except ValueError as error:
        told = str(error)
        raise NoClusterError(f"{what}: {told if told.startswith(_OIDC) else _NO_FORM}") from None
    except (TypeError, AttributeError, LookupError, RecursionError):
        raise NoClusterError(f"{what}: {_NO_FORM}") from None


def _lacks_context(message: str) -> bool:
    absent = _NO_OBJECT.fullmatch(message)
    return absent[2] == "context" if absent is not None else _NO_CURRENT in message


def _problem(message: str) -> str:
    absent = _NO_OBJECT.fullmatch(message)
    if absent is not None and absent[1] not in {"", "None"}:
        return _no_object(absent[2], absent[1])
    if absent is not None or _NO_CURRENT in message:
        return "it has no current context; choose one with --context"
    file = _NO_FILE.fullmatch(message)
    if file is not None:
        return f"there is no file {file[1]}, which it names"
    return message if message.startswith(_OIDC) else _NO_FORM


def _no_object(kind: str, name: str) -> str:
    todo = "; see 'kubectl config get-contexts'" if kind == "context" else ""
    return f"it has no {kind} {name!r}{todo}"


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f" (line {mark.line + 1})" if mark is not None else ""
