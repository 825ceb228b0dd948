"""Authenticate every call except health checks."""

from __future__ import annotations

import logging
import secrets
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio

from ilab_chat_service.auth.callers import Credentials, InvalidCredentials, MissingCredentials, set_caller
from ilab_chat_service.rpc.interceptors.layers import is_ours
from ilab_chat_service.rpc.interceptors.status import end
from ilab_chat_service.telemetry.call_record import CALL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from ilab_chat_service.auth.callers import Authenticator, Caller
    from ilab_chat_service.rpc.interceptors.layers import (
        CallDetails,
        Context,
        Continue,
        Handler,
        Headers,
        Method,
        Requests,
    )
    from ilab_chat_service.rpc.strangers import Strangers

log = logging.getLogger(__name__)

#: Health probes have no credentials.
EXEMPT = "/grpc.health.v1.Health/"
#: Maximum length of an authorization header. gRPC's own limit is for all headers of a call.
MAX_HEADER_CHARACTERS = 16_384


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Authenticates a call before its request is read.

    Calls of our methods are authenticated in the layer `authenticated`, reflection by the interceptor: it needs
    credentials too, and grpcurl sends its headers with reflection calls as well.
    """

    def __init__(self, callers: Authenticator, strangers: Strangers) -> None:
        self._callers = callers
        self._strangers = strangers

    async def intercept_service(
        self, continuation: Continue, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Return the handler of reflection behind authentication."""
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(EXEMPT) or is_ours(handler_call_details):
            return handler
        return self._guarded(authorization_headers(handler_call_details.invocation_metadata or ()), handler)

    async def authenticated(self, details: CallDetails, method: Method, requests: Requests, context: Context) -> Any:
        """Await *method* if the caller has valid credentials; the innermost layer."""
        caller = await self._caller(authorization_headers(details.headers), context)
        set_caller(caller)
        CALL.get().caller = caller.name
        return await method(requests, context)

    async def _caller(self, headers: Headers, context: Context) -> Caller:
        """Return the caller with the credentials of a call.

        Raises:
            MissingCredentials, InvalidCredentials: see `Authenticator.caller`.
        """
        caller = await self._callers.caller(credentials(headers, context))
        self._strangers.authenticated(context.peer())
        return caller

    def _guarded(self, headers: Headers, handler: Handler) -> Handler:
        """Return the handler of a reflection method behind authentication."""
        method: Any = handler.stream_stream

        async def call(requests: Any, context: Context) -> AsyncIterator[Any]:
            try:
                await self._caller(headers, context)
            except (MissingCredentials, InvalidCredentials) as error:
                await reject(context, error)
            async for response in method(requests, context):
                yield response

        return grpc.stream_stream_rpc_method_handler(call, handler.request_deserializer, handler.response_serializer)


async def reject(context: Context, error: MissingCredentials | InvalidCredentials) -> NoReturn:
    """Log and abort a reflection call, which has no canonical log line and no other layer."""
    correlation_id = secrets.token_hex(16)
    log.warning("reflection: %s (%s)", error, correlation_id)
    await end(context, error, correlation_id)


def authorization_headers(headers: Iterable[tuple[str, str | bytes]]) -> Headers:
    """Return the first two authorization headers of a call: one alone is valid."""
    return tuple(islice((header for header in headers if header[0] == "authorization"), 2))


def credentials(headers: Headers, context: Context) -> Credentials:
    """Return the credentials in the authorization headers of a call and in its connection.

    Raises:
        InvalidCredentials: the authorization header is not a bearer token.
    """
    certificates = context.auth_context().get("x509_pem_cert", ())
    return Credentials(bearer=bearer(headers), certificate=next(iter(certificates), None))


def bearer(headers: Headers) -> str | None:
    """Return the token of `authorization: Bearer TOKEN` in the authorization headers of a call. None: it has none.

    Raises:
        InvalidCredentials: the header is repeated, too long, or not a bearer token.
    """
    if not headers:
        return None
    if len(headers) > 1:
        raise InvalidCredentials("the call has more than one authorization header")
    _, value = headers[0]
    if len(value) > MAX_HEADER_CHARACTERS:
        raise InvalidCredentials("the authorization header is too long")
    scheme, _, token = str(value).partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise InvalidCredentials("the authorization header must be: Bearer TOKEN")
    return token.strip()
