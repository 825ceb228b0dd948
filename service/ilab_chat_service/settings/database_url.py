"""The URL of a PostgreSQL database: validation, a form without secrets, and the parameters that our connections add.

Needs the extra `postgres`.
"""

from __future__ import annotations

import re
from itertools import cycle

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ilab_chat_service.settings import SettingsError

#: How connections to the database end that lead nowhere any more, in the words of libpq. A URL may say otherwise.
DEFAULTS = {
    "application_name": "ilab-chat",
    "client_encoding": "UTF8",
    # Memory needs a server that accepts writes: of several hosts, the primary.
    "target_session_attrs": "read-write",
    "connect_timeout": "3",  # seconds, for each host
    # A vanished host is noticed after 5 + 3 x 2 s of silence, or 10 s without an acknowledgement.
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}

#: A name or address of a host, or the folder of a Unix socket. Nothing that is left of a password has this form.
HOST = re.compile(r"[\w.-]*|[0-9a-fA-F:.]+(%\w+)?|/[^@:]*")


def shown(url: str) -> str:
    """Return hosts and database of *url*, and nothing else of it.

    Raises:
        SettingsError: it is not the URL of a PostgreSQL database. The text does not quote it.
    """
    if not url.startswith(("postgresql://", "postgres://")):
        raise SettingsError("ILAB_MEMORY_URL: must begin with postgresql://")
    try:
        given = conninfo_to_dict(url)
    except ProgrammingError:  # its text quotes the URL
        raise SettingsError("ILAB_MEMORY_URL: must be like postgresql://USER@HOST/DATABASE") from None
    host, port, database = (str(given.get(name) or "") for name in ("host", "port", "dbname"))
    hosts, ports = host.split(","), port.split(",")
    if not all(map(HOST.fullmatch, hosts)) or not re.fullmatch(r"[0-9,]*", port) or "@" in database:
        # A password with one of these in clear ends there, and its rest would be taken, and told, as something else.
        raise SettingsError("ILAB_MEMORY_URL: write @ : / ? # in user and password as %40 %3A %2F %3F %23")
    if len(ports) not in {1, len(hosts)}:
        raise SettingsError("ILAB_MEMORY_URL: must have one port for all hosts, or one for each")
    named = (f"[{host}]" if ":" in host else host for host in hosts)
    places = (f"{host}:{port}" if port else host for host, port in zip(named, cycle(ports), strict=False))
    return f"postgresql://{','.join(places)}/{database}"


def conninfo(url: str, **settings: str) -> str:
    """Return what libpq connects with: *url*, the defaults for what it leaves open, and *settings* of the session."""
    given = conninfo_to_dict(url)
    escaped = {name: value.replace(" ", "\\ ") for name, value in settings.items()}
    options = " ".join([str(given.get("options") or ""), *(f"-c {name}={value}" for name, value in escaped.items())])
    return make_conninfo(url, **{name: value for name, value in DEFAULTS.items() if name not in given}, options=options)
