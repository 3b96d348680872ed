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

__all__ = ["Call", "CallSettings", "Calls", "retrying", "translated"]

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


@dataclass(frozen=True, slots=True)
class Call:
    """One call of AWS.

    Attributes:
        operation: such as ``iam:GetRole``.
        subject: what follows it in messages, such as `` on arn:...``; may be empty.
        method: of a boto3 client.
        arguments: for it.
        or_none: whether "there is no such thing" is an answer, None, and no error.
    """

    operation: str
    subject: str
    method: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    or_none: bool = False


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

    async def read(self, call: Call, slot: Slot | None = None) -> tuple[Any, float]:
        """Make a call that writes nothing; return its answer and when that arrived.

        Args:
            call: the call.
            slot: of the caller, then with a single try; None: with retries.

        Raises:
            AwsError: see `translated`.
        """
        if slot is not None:
            return await self._timed(call, slot, None)
        answer: tuple[Any, float] = await retrying(lambda: self._timed(call, None, None), self._reads)
        return answer

    async def write(self, call: Call, permit: WritePermit, slot: Slot | None = None) -> Any:
        """Make a call that writes, with a single try, and return its answer.

        Args:
            call: the call.
            permit: checked in the thread, right before the call is sent.
            slot: of the caller; None: the call takes one.

        Raises:
            NotLeadingError: the permit is over.
            StaleReadError: the read is too old.
            AwsError: see `translated`. After `UnreachableError` the write may have taken effect.
        """
        answer, _ = await self._timed(call, slot, permit)
        return answer

    async def _timed(self, call: Call, slot: Slot | None, permit: WritePermit | None) -> tuple[Any, float]:
        """Make one try, within the budget and counted; return its answer and when that arrived in the thread."""
        clock = self._clock

        def send() -> tuple[Any, float]:
            if permit is not None:
                permit.check(call.operation)
            try:
                with translated(call.operation + call.subject):
                    answer = call.method(**call.arguments)
            except NotFoundError as error:  # when the answer arrived counts, whatever it is
                answer = error
            return answer, clock()

        code = "Cancelled"
        try:
            async with self._limiter.call(slot):
                answer, at = await self._limiter.in_thread(send)
            if isinstance(answer, NotFoundError):
                if not call.or_none:
                    raise answer
                code, answer = answer.code, None
            else:
                code = ""
        except AwsError as error:
            code = error.code or type(error).__name__
            raise
        finally:
            self._count(call.operation, code)
        return answer, at
