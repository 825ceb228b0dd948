"""Connection parameters that a URL does not set."""

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

# A URL may say otherwise.
_DEFAULTS: dict[str, str | int] = {
    "fallback_application_name": "ilab-memory",
    "client_encoding": "UTF8",
    # Of several hosts, the primary: every call may write.
    "target_session_attrs": "read-write",
    # Seconds, for each host. By default, libpq waits without a limit.
    "connect_timeout": 3,
    # A host that vanishes is noticed after 5 + 3 x 2 seconds of silence, or 10 without an answer to what was sent.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# The same for the server, or the locks of a process whose host has vanished would be held for hours.
_KEEPALIVES = "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=10s"


def conninfo(url: str, *, synchronous_commit: str, lock_seconds: float, statement_seconds: float) -> str:
    """Return the connection string for *url*, with our defaults.

    Raises:
        ValueError: *url* is not a connection URL of PostgreSQL.
    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # Its text quotes the URL, which may hold a password.
        raise ValueError("url must be a PostgreSQL connection URL") from None
    options = (
        f"{given.get('options') or ''} {_KEEPALIVES} -c TimeZone=UTC"
        f" -c synchronous_commit={synchronous_commit} -c lock_timeout={round(lock_seconds * 1000)}"
        f" -c statement_timeout={round(statement_seconds * 1000)}"
    )
    return make_conninfo(
        url, **{name: value for name, value in _DEFAULTS.items() if name not in given}, options=options
    )
