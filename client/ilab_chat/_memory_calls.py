"""Everything about a call of MemoryService that does no I/O. `aio_memory` and `sync_memory` are shells around it."""

from collections.abc import Sequence
from typing import Any, TypedDict, TypeVar

from google.protobuf.message import Message

from ilab_chat._calls import FromClient, Metadata, check_response, check_unicode
from ilab_chat.v1.memory_pb2 import ExportUserResponse, Observation, SearchObservationsRequest, Session

Request = TypeVar("Request", bound=Message)


class CallOptions(TypedDict, total=False):
    """What any call may say for itself."""

    timeout: float | FromClient | None
    """Seconds for this call. None: no limit. Left out: the client's."""
    metadata: Metadata
    """Sent after the client's own."""


def build(kind: type[Request], **fields: Any) -> Request:
    """Return a request; a field that is None is left unset.

    Raises:
        InvalidArgument: a text is not valid Unicode (a lone surrogate, as from bytes read in a wrong encoding).
    """
    for field, value in fields.items():
        for text in [value] if isinstance(value, str) else value if isinstance(value, tuple) else ():
            check_unicode(field, text, "")
    return kind(**fields)


def search_request(
    user_id: str, query: str, limit: int | None, types: Sequence[str], types_exclude: Sequence[str]
) -> SearchObservationsRequest:
    """Return a request to search.

    Raises:
        InvalidArgument: a text is not valid Unicode.
        TypeError: *types* or *types_exclude* is one text: its characters would count as types.
    """
    if isinstance(types, str) or isinstance(types_exclude, str):
        raise TypeError('types and types_exclude are sequences of texts, as in ("decision",)')
    return build(
        SearchObservationsRequest,
        user_id=user_id,
        query=query,
        page_size=limit,
        types=tuple(types),
        types_exclude=tuple(types_exclude),
    )


def item_of(response: ExportUserResponse | None) -> Session | Observation | None:
    """Return what an export sent, None for a kind that this client does not know: skip it.

    Raises:
        Internal: None, which is how grpc.aio hands over bytes it cannot decode.
    """
    response = check_response(response, "")
    if response.HasField("session"):
        return response.session
    return response.observation if response.HasField("observation") else None
