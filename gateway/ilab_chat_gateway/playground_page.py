"""The playground: one page of static files, with a policy that lets it talk to this gateway only."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Final

from starlette.responses import RedirectResponse, Response

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

PATH: Final = "/playground"
FOLDER: Final = files("ilab_chat_gateway") / "playground"
MEDIA_TYPES: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript"}

#: No inline script or style, and no other host.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types"
)


def add_playground(app: FastAPI) -> None:
    """Serve the files of the playground."""
    pages = {file.name: file.read_bytes() for file in FOLDER.iterdir() if file.name.partition(".")[2] in MEDIA_TYPES}

    def add(path: str, name: str) -> None:
        async def page(_: Request) -> Response:
            media_type = MEDIA_TYPES[name.partition(".")[2]]
            return Response(pages[name], headers={"content-security-policy": POLICY}, media_type=media_type)

        app.add_route(path, page, ["GET"])

    async def redirect(_: Request) -> Response:
        return RedirectResponse(PATH)

    for path in ("/", f"{PATH}/"):
        app.add_route(path, redirect, ["GET"])
    for name in pages:
        add(PATH if name == "index.html" else f"{PATH}/{name}", name)
