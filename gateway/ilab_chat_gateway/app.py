"""The assembly: one FastAPI app from the settings."""

from __future__ import annotations

from collections import defaultdict
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Route as AppRoute

from ilab_chat_gateway import openai_api, problems, recipe
from ilab_chat_gateway.backend import open_backend
from ilab_chat_gateway.endpoints import backend_of, endpoint
from ilab_chat_gateway.mcp_server import PATH as MCP_PATH
from ilab_chat_gateway.mcp_server import McpEndpoint
from ilab_chat_gateway.middleware import (
    RESPONSE_HEADERS,
    AllowedHosts,
    Defects,
    KeepEncodedUser,
    LimitedBodies,
    ResponseHeaders,
)
from ilab_chat_gateway.playground_page import add_playground
from ilab_chat_gateway.routes import ROUTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.requests import Request

    from ilab_chat_gateway.endpoints import Endpoint
    from ilab_chat_gateway.settings import Settings

#: Headers of responses that pages of the named origins may read.
CORS_RESPONSE_HEADERS = ("retry-after", openai_api.IGNORED_HEADER, openai_api.RETRY_HEADER)


def create_app(settings: Settings) -> FastAPI:
    """Return the gateway as an ASGI app."""
    mcp = McpEndpoint(settings.max_body_bytes)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_backend(settings) as backend, mcp.manager.run():
            app.state.backend = backend
            yield

    # Its documentation pages load scripts from other hosts, and its schema is not the contract's.
    app = FastAPI(title="ilab-chat", lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    app.router.redirect_slashes = False
    problems.add_handlers(app)
    app.add_api_route("/chat", recipe.chat, methods=["POST"], response_model=recipe.ChatResponse)
    paths = defaultdict[str, dict[str, "Endpoint"]](dict)
    for route in ROUTES:
        paths[route.path][route.method] = endpoint(route, settings.max_body_bytes)
    for path, endpoints in paths.items():
        app.add_route(path, by_method(endpoints), list(endpoints))
    app.add_route("/v1/openai/chat/completions", openai_api.chat_completions, ["POST"])
    app.add_route("/v1/openai/models", openai_api.list_models, ["GET"])
    app.add_route("/v1/openai/models/{model}", openai_api.get_model, ["GET"])
    # Without sessions there is no stream for GET to open, and no session for DELETE to end.
    app.routes.append(AppRoute(MCP_PATH, mcp, methods=["POST"]))
    app.add_route("/livez", livez, ["GET"])
    app.add_route("/readyz", readyz, ["GET"])
    app.add_route("/openapi.json", openapi, ["GET"])
    if settings.playground:
        add_playground(app)
    # The last one added is the first to see a request.
    app.add_middleware(Defects)
    app.add_middleware(KeepEncodedUser)
    app.add_middleware(LimitedBodies, most=settings.max_body_bytes)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            # Clients of OpenAI's API and of MCP send headers of their own.
            allow_headers=["*"],
            expose_headers=CORS_RESPONSE_HEADERS,
        )
    app.add_middleware(AllowedHosts, hosts=settings.allowed_hosts)
    # Pages of named origins may read every response.
    policy = "cross-origin" if settings.origins else "same-origin"
    app.add_middleware(ResponseHeaders, headers={**RESPONSE_HEADERS, "cross-origin-resource-policy": policy})
    return app


def by_method(endpoints: Mapping[str, Endpoint]) -> Endpoint:
    """Return one endpoint for all methods of a path, so that `Allow` of a 405 names each of them."""

    async def answer(request: Request) -> Response:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return answer


async def livez(_: Request) -> Response:
    """Say that the process runs."""
    return Response("ok\n", media_type="text/plain")


async def readyz(request: Request) -> Response:
    """Say whether the server behind the gateway serves."""
    if await backend_of(request).is_serving():
        return Response("ok\n", media_type="text/plain")
    return problems.response(problems.problem(503, "SERVER_UNREACHABLE", "the server does not serve"))


async def openapi(_: Request) -> Response:
    """Return the OpenAPI document, which tools/openapi.py writes."""
    return Response(OPENAPI, media_type="application/json")


OPENAPI = files("ilab_chat_gateway").joinpath("openapi.json").read_bytes()
