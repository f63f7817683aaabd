"""Clients of AWS services, and their errors in words. boto3 is imported when the first client is made."""

from __future__ import annotations

from typing import Any

from bursty.errors import ConfigError, MissingExtra, StoreError

ATTEMPTS = 12
"""Of one request, waiting longer between them: about half a minute without a connection, a minute when throttled."""

_HINTS = (
    (
        ("NoCredentials", "PartialCredentials", "CredentialRetrieval", "TokenRetrieval", "SSO", "UnauthorizedSSO"),
        "Give credentials: a profile (AWS_PROFILE), AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role.",
    ),
    (
        ("UnrecognizedClient", "InvalidSignature", "ExpiredToken", "InvalidClientTokenId", "MissingAuthentication"),
        "Check the credentials: expired, of another account, or the machine's clock is wrong.",
    ),
    (("AccessDenied",), "Let the role or user do this on it; docs/howto/dynamodb.md lists the rights for the table."),
    (
        ("Throttl", "ProvisionedThroughput", "RequestLimitExceeded", "TooManyRequests"),
        "AWS asks for fewer requests, also after pauses: try again later, or raise the limits of the table or account.",
    ),
    (
        ("EndpointConnection", "ConnectTimeout", "ReadTimeout", "ConnectionClosed", "HTTPClient", "ProxyConnection"),
        "Is the network up, and the region or endpoint right? A write may have been made all the same: look again.",
    ),
)


def client(
    service: str, region: str | None = None, *, attempts: int = ATTEMPTS, read_timeout: float = 10.0, pool: int = 50
) -> Any:
    """A thread-safe client that tries again, with growing random pauses, what was throttled or lost on its way.

    ``region``: else what the environment and the profile say. ``attempts``: of one request, in all. ``read_timeout``:
    seconds until an answer is given up. ``pool``: connections kept. Raises ``MissingExtra`` and ``ConfigError``.
    """
    try:
        import boto3.session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise MissingExtra.of("boto3", "aws", f"AWS ({service})") from error
    config = Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=5,
        read_timeout=read_timeout,
        max_pool_connections=pool,
        tcp_keepalive=True,
        user_agent_extra="bursty",
    )
    try:
        session: Any = boto3.session.Session(region_name=region)  # the default session is not thread-safe
        return session.client(service, config=config)
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(
            f"can't make a client of AWS {service}: {error}",
            "Name the region (?region= in the URL, or AWS_REGION), and see that AWS_PROFILE names a profile you have.",
        ) from error


def code_of(error: Exception) -> str:
    """The service's code for a ``ClientError``, the class's name for other errors of botocore."""
    response: Any = getattr(error, "response", None)
    return response["Error"].get("Code", "") if response else type(error).__name__


def words_of(error: Exception) -> str:
    """What the service says, with its reasons for a cancelled transaction."""
    response: Any = getattr(error, "response", None)
    if not response:
        return str(error)
    reasons = {str(reason["Message"]) for reason in response.get("CancellationReasons", ()) if reason.get("Message")}
    return "; ".join((response["Error"].get("Message", ""), *sorted(reasons)))


def explained(error: Exception, doing: str) -> StoreError:
    """What a call of AWS raised, as an error that says what to do."""
    code = code_of(error)
    said = f"{code}: {words_of(error)}" if hasattr(error, "response") else words_of(error)
    hint = next((hint for codes, hint in _HINTS if any(part in code for part in codes)), "")
    return StoreError(f"can't {doing}: {said}", hint)
