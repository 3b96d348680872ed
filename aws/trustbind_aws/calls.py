"""AWS calls: one try each, within the AWS account's budget, in its threads, counted, and with trustbind's errors.

boto3 runs in the AWS account's threads behind the await, and nowhere else, so every await is a point where time may
pass. botocore makes a single attempt: a write that botocore retried would send a document whose read is old.
Reads are tried again here, within the budget.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import botocore.exceptions
from botocore.config import Config

from trustbind import __version__
from trustbind.backoff import Backoff
from trustbind.errors import AWS_CODES, AwsError, NotFoundError, ThrottledError, UnreachableError
from trustbind_aws.call_limiter import CallLimiter, Slot
from trustbind_aws.permits import WritePermit

__all__ = ["CallSettings", "Calls", "retrying", "translated"]

_WORTH_A_RETRY: Final = (ThrottledError, UnreachableError)


_READS: Final = Backoff(0.2, 5.0, tries=3)


@dataclass(frozen=True, slots=True)
class CallSettings:
    """How calls are made.

    Attributes:
        connect_timeout: seconds to wait for a connection.
        read_timeout: seconds to wait for an answer. A write may still take effect within both time-outs together, so
            they must fit into the time that passes between a missed renewal and the end of the Lease.
        reads: the pauses between tries of a call that writes nothing.
    """

    connect_timeout: float = 5.0
    read_timeout: float = 15.0
    reads: Backoff = field(default=_READS)

    def boto(self) -> Config:
        """Return the same for botocore."""
        return Config(
            connect_timeout=self.connect_timeout,
            read_timeout=self.read_timeout,
            retries={"total_max_attempts": 1, "mode": "standard"},
            user_agent_extra=f"trustbind/{__version__}",
            max_pool_connections=25,
        )


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Turn boto's exceptions into the tree of `trustbind.errors`.

    Args:
        operation: for the message, such as ``iam:GetRole on arn:...``.
    """
    try:
        yield
    except botocore.exceptions.ClientError as error:
        details = error.response.get("Error", {})
        code = str(details.get("Code", ""))
        raise AWS_CODES.get(code, AwsError)(
            str(details.get("Message", "")) or code or "AWS gave no reason", code=code, operation=operation
        ) from error
    except botocore.exceptions.NoCredentialsError as error:
        raise UnreachableError(
            "there are no AWS credentials: set AWS_PROFILE or the AWS_* variables, or give the pod a role",
            operation=operation,
        ) from error
    except botocore.exceptions.NoRegionError as error:
        raise UnreachableError("no AWS region is set: set AWS_REGION", operation=operation) from error
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.HTTPClientError) as error:
        raise UnreachableError(f"no answer from AWS: {error}", operation=operation) from error


async def retrying(call: Callable[[], Any], backoff: Backoff, jitter: Callable[[], float] = random.random) -> Any:
    """Return what ``call`` returns, tried again while AWS is busy or does not answer; for calls that write nothing.

    Args:
        call: returns the awaitable of one try.
        backoff: the pauses, and how many tries.
        jitter: gives 0 to 1.

    Raises:
        AwsError: of the last try.
    """
    for pause in backoff.pauses(jitter):
        try:
            return await call()
        except _WORTH_A_RETRY:
            await asyncio.sleep(pause)
    return await call()


class Calls:
    """See the module.

    Args:
        limiter: of the AWS account.
        reads: the pauses between tries of a call that writes nothing.
        count: takes operation and error code of each call, empty for a success; called on the event loop.
        clock: see `trustbind_aws.permits.boottime`.
    """

    def __init__(
        self,
        limiter: CallLimiter,
        reads: Backoff,
        count: Callable[[str, str], None],
        clock: Callable[[], float],
    ) -> None:
        self._limiter = limiter
        self._reads = reads
        self._count = count
        self._clock = clock

    async def once(
        self,
        operation: str,
        about: str,
        method: Callable[..., Any],
        *,
        slot: Slot | None = None,
        permit: WritePermit | None = None,
        **arguments: Any,
    ) -> Any:
        """Return what ``method`` returns: one try, within the AWS account's budget, counted.

        Args:
            operation: such as ``iam:GetRole``.
            about: what follows it in messages, such as `` on arn:...``.
            method: of a boto3 client.
            slot: of the caller; None: the call takes one.
            permit: of a write; checked in the thread, right before it is sent.
            arguments: for it.

        Raises:
            NotLeadingError: the permit is over.
            StaleReadError: the read is too old.
            AwsError: see `translated`.
        """
        answer, _ = await self.timed(operation, about, method, slot, permit, arguments)
        return answer

    async def read(self, operation: str, about: str, method: Callable[..., Any], **arguments: Any) -> Any:
        """Make a call that writes nothing, with retries."""
        answer, _ = await retrying(lambda: self.timed(operation, about, method, None, None, arguments), self._reads)
        return answer

    async def timed(
        self,
        operation: str,
        about: str,
        method: Callable[..., Any],
        slot: Slot | None,
        permit: WritePermit | None,
        arguments: Mapping[str, Any],
    ) -> tuple[Any, float]:
        """Make one call; return its answer and when that arrived."""
        answer, at = await self.sent(operation, about, method, slot, permit, arguments)
        if isinstance(answer, NotFoundError):
            raise answer
        return answer, at

    async def sent(
        self,
        operation: str,
        about: str,
        method: Callable[..., Any],
        slot: Slot | None,
        permit: WritePermit | None,
        arguments: Mapping[str, Any],
    ) -> tuple[Any, float]:
        """Make one call; return its answer, which may be a `NotFoundError`, and when that arrived in the thread."""
        clock = self._clock

        def send() -> tuple[Any, float]:
            if permit is not None:
                permit.check(operation)
            try:
                with translated(operation + about):
                    answer = method(**arguments)
            except NotFoundError as error:
                answer = error
            return answer, clock()

        code = "Cancelled"
        try:
            async with self._limiter.call(slot):
                result = await self._limiter.in_thread(send)
            code = result[0].code if isinstance(result[0], NotFoundError) else ""
        except AwsError as error:
            code = error.code or type(error).__name__
            raise
        finally:
            self._count(operation, code)
        return result
