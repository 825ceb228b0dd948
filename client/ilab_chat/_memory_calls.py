"""Everything about a call of MemoryService that does no I/O. `aio_memory` and `sync_memory` are shells around it."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Any, Final, TypeAlias, TypedDict, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from ilab_chat._calls import FromClient, Metadata, check_response, check_unicode, several
from ilab_chat.v1.memory_pb2 import (
    ExportUserResponse,
    ImportUserRequest,
    ListObservationsRequest,
    Observation,
    SearchObservationsRequest,
    Session,
)

Request = TypeVar("Request", bound=Message)

Item: TypeAlias = Session | Observation


class CallOptions(TypedDict, total=False):
    """Options of any call."""

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
            check_unicode(field, text, fields.get("request_id", ""))
    return kind(**fields)


def build_write(kind: type[Request], *, request_id: str | None, **fields: Any) -> Request:
    """Return a request that has a request id: the one given, or a new one when that is None or empty.

    Raises:
        InvalidArgument: as `build` does.
    """
    return build(kind, request_id=request_id or uuid.uuid4().hex, **fields)


def request_id_of(request: object) -> str:
    """Return the request id of a request, empty if its method takes none."""
    return getattr(request, "request_id", "")


def search_request(
    user_id: str, query: str, limit: int | None, types: Sequence[str], types_exclude: Sequence[str]
) -> SearchObservationsRequest:
    """Return a request to search.

    Raises:
        InvalidArgument: a text is not valid Unicode.
        TypeError: *types* or *types_exclude* is one text: its characters would count as types.
    """
    return build(
        SearchObservationsRequest,
        user_id=user_id,
        query=query,
        page_size=limit,
        types=several(types),
        types_exclude=several(types_exclude),
    )


def list_request(
    user_id: str, types: Sequence[str], conversation_id: str | None, page_size: int | None
) -> ListObservationsRequest:
    """Return a request for the first page of a list.

    Raises:
        InvalidArgument: a text is not valid Unicode.
        TypeError: *types* is one text.
    """
    return build(
        ListObservationsRequest,
        user_id=user_id,
        types=several(types),
        conversation_id=conversation_id,
        page_size=page_size,
    )


class Never(Enum):
    """The type of `NEVER`."""

    NEVER = "NEVER"


#: An expiry that takes the one away that an observation has.
NEVER: Final = Never.NEVER


def changes(**fields: str | bool | datetime | Never | None) -> dict[str, Any]:
    """Return those of *fields* that are not None, with the mask that names them, as fields of a request.

    Raises:
        ValueError: a time has no time zone.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    times = {name: moment(name, value) for name, value in given.items() if isinstance(value, datetime | Never)}
    return {"update_mask": FieldMask(paths=list(given)), **given, **times}


def moment(name: str, value: datetime | Never | None) -> Timestamp | None:
    """Return the argument *name* as a message, None for one that stays unset.

    Raises:
        ValueError: it has no time zone.
    """
    if value is None or isinstance(value, Never):
        return None
    if value.tzinfo is None:
        raise ValueError(f"{name} must have a time zone")
    message = Timestamp()
    message.FromDatetime(value)
    return message


def import_request(item: Item) -> ImportUserRequest:
    """Return an item of an import as a message.

    Raises:
        TypeError: it is neither a session nor an observation.
    """
    if isinstance(item, Session):
        return ImportUserRequest(session=item)
    if isinstance(item, Observation):
        return ImportUserRequest(observation=item)
    raise TypeError(f"items are sessions and observations, not {type(item).__name__}")


def item_of(response: ExportUserResponse | None) -> Session | Observation | None:
    """Return what an export sent, None for a kind that this client does not know: skip it.

    Raises:
        Internal: None, which is how grpc.aio hands over bytes it cannot decode.
    """
    response = check_response(response, "")
    if response.HasField("session"):
        return response.session
    return response.observation if response.HasField("observation") else None
