"""The user's own way into AWS: ``--profile`` and ``--region``, else what boto3 finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trustbind_aws.sessions import AwsSessions

__all__ = ["AwsAccess"]


@dataclass(frozen=True, slots=True)
class AwsAccess:
    """See the module.

    Attributes:
        profile: of the AWS configuration; None for AWS_PROFILE, or the default one.
        region: None for that of the configuration.
    """

    profile: str | None = None
    region: str | None = None

    def sessions(self, who: str) -> AwsSessions:
        """Return the sessions of a command.

        Args:
            who: the command, for CloudTrail.
        """
        from trustbind_aws.sessions import AwsSessions  # noqa: PLC0415 - boto3 takes long to load

        return AwsSessions(who, profile=self.profile, region=self.region)
