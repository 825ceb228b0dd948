"""The version of the library."""

from importlib.metadata import PackageNotFoundError, version


def installed() -> str:
    """Return the installed version of the library, "unknown" in a checkout that is not installed."""
    try:
        return version("ilab-memory")
    except PackageNotFoundError:
        return "unknown"
