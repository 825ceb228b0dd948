"""The versions of the gateway and of the packages that it runs on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of


def installed(package: str = "ilab-chat-gateway") -> str:
    """Return the installed version of *package*, "unknown" in a checkout that is not installed."""
    try:
        return version_of(package)
    except PackageNotFoundError:
        return "unknown"


def described() -> str:
    """Return the versions of the gateway, of its build and of the packages that it runs on."""
    build = os.environ.get("ILAB_CHAT_BUILD")
    parts = [f"build {build}"] if build else []
    parts += [f"Python {platform.python_version()}"]
    parts += [f"{package} {installed(package)}" for package in ("grpcio", "starlette", "uvicorn")]
    return f"{installed()} ({', '.join(parts)})"
