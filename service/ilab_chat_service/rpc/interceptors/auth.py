"""Who may call: every method but health needs credentials that the server accepts."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio

from ilab_chat_service.auth.callers import Credentials, InvalidCredentials, MissingCredentials, set_caller
from ilab_chat_service.rpc.interceptors.errors import end
from ilab_chat_service.rpc.interceptors.wrapping import is_ours, wrapped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ilab_chat_service.auth.callers import Authenticator
    from ilab_chat_service.rpc.interceptors.wrapping import Context, Continue, Handler, Method, Requests

log = logging.getLogger(__name__)

#: Probes have no credentials.
EXEMPT = "/grpc.health.v1.Health/"
#: Longest value of a header that is looked at. gRPC's own limit is for all headers of a call together.
MOST_CHARACTERS = 16_384


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Asks who calls before anything else of a call is looked at.

    Reflection is asked too: only health is there for strangers, and grpcurl sends its headers with both.
    """

    def __init__(self, callers: Authenticator) -> None:
        self._callers = callers

    async def intercept_service(
        self, continuation: Continue, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Let only known callers reach the handler."""
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(EXEMPT):
            return handler
        return wrapped(handler, self._known) if is_ours(handler_call_details) else self._conversation(handler)

    async def _known(self, method: Method, requests: Requests, context: Context) -> Any:
        set_caller(await self._callers.caller(credentials(context)))
        return await method(requests, context)

    def _conversation(self, handler: Handler) -> Handler:
        """Return the handler of a method that is not ours, reflection, for known callers."""
        method: Any = handler.stream_stream

        async def call(requests: Any, context: Context) -> AsyncIterator[Any]:
            try:
                await self._callers.caller(credentials(context))
            except (MissingCredentials, InvalidCredentials) as error:
                await refuse(context, error)
            async for response in method(requests, context):
                yield response

        return grpc.stream_stream_rpc_method_handler(call, handler.request_deserializer, handler.response_serializer)


async def refuse(context: Context, error: MissingCredentials | InvalidCredentials) -> NoReturn:
    """End a call that has no line in the log and no ErrorInterceptor around it, as those of our own methods end."""
    correlation_id = secrets.token_hex(16)
    log.warning("reflection: %s (%s)", error, correlation_id)
    await end(context, error, correlation_id)


def credentials(context: Context) -> Credentials:
    """Return what the call says of its caller, in its headers and by its connection.

    Raises:
        InvalidCredentials: the header is no bearer token.
    """
    certificates = context.auth_context().get("x509_pem_cert", ())
    return Credentials(bearer=bearer(context), certificate=next(iter(certificates), None))


def bearer(context: Context) -> str | None:
    """Return the token of the header `authorization: Bearer ...`, None without the header."""
    values = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
    if not values:
        return None
    if len(values) > 1:
        raise InvalidCredentials("there is more than one authorization header")
    if len(values[0]) > MOST_CHARACTERS:
        raise InvalidCredentials("the authorization header is too long")
    scheme, _, token = str(values[0]).partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise InvalidCredentials("the authorization header is not of the form: Bearer TOKEN")
    return token.strip()
