"""The documented methods as requests and results: the one table that every transport serves."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from ilab_memory.api import ILabMemory
from ilab_memory.core.models import Observation, ObservationCompact, SaveResult, Session, SessionStartResponse
from ilab_memory.limits import LARGEST_ID, MAX_CONTENT_BYTES, MAX_CONVERSATION_ID, MAX_TITLE, MAX_TOPIC_KEY, MAX_USER_ID

UserId = Annotated[str, Field(max_length=MAX_USER_ID, description="The user whose memory this is.")]
ConversationId = Annotated[
    str, Field(max_length=MAX_CONVERSATION_ID, description="One of the user's conversations. Empty: the default one.")
]
Text = Annotated[str, Field(max_length=MAX_CONTENT_BYTES)]
ObservationId = Annotated[int, Field(ge=1, le=LARGEST_ID, description="The id of an observation of the user.")]

#: Maximum number of members of a request: each unknown one is an error.
MOST_MEMBERS: Final = 32


class _Request(BaseModel):
    # Strict: True is not the number 1. An error names the field and never quotes the value.
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    user_id: UserId

    @model_validator(mode="before")
    @classmethod
    def _has_few_members(cls, members: object) -> object:
        if isinstance(members, Mapping) and len(members) > MOST_MEMBERS:
            raise ValueError(f"must have at most {MOST_MEMBERS} members")
        return members


class SessionStart(_Request):
    """Return the session to work in, the last completed sessions, and the user's best memories.

    Call it when a conversation begins. Reuses the active session or opens one.
    """

    conversation_id: ConversationId = ""


class SessionEnd(_Request):
    """Complete the active session with a summary of what happened."""

    summary: Annotated[Text, Field(description="The course of the session.")]
    conversation_id: ConversationId = ""


class SessionSummary(_Request):
    """Store a summary of the session as an observation. The session stays open."""

    summary: Annotated[Text, Field(description="The course of the session so far.")]
    conversation_id: ConversationId = ""


class Save(_Request):
    """Store one observation about the user: a preference, a decision, something learned.

    With a topic_key, it replaces the observation of that key. Text inside <private> tags is redacted.
    """

    content: Annotated[Text, Field(description="The text to remember.")]
    type: Annotated[
        str, Field(description="profile, preference, decision, discovery or pattern, unless configured otherwise.")
    ]
    title: Annotated[str, Field(max_length=MAX_TITLE, description="A short title.")]
    topic_key: Annotated[
        str | None, Field(max_length=MAX_TOPIC_KEY, description="Identifies what the observation is about.")
    ] = None
    conversation_id: ConversationId = ""


class Search(_Request):
    """Find the user's observations that answer a question in plain language, best first."""

    query: Annotated[Text, Field(description="Plain language. There are no operators.")]
    limit: Annotated[int, Field(ge=1, le=LARGEST_ID, description="Maximum number of results.")] = 10
    # Otherwise each item of another type is an error: a long list takes seconds, and a response of many megabytes.
    types: Annotated[list[str] | None, Field(fail_fast=True, description="Only these types.")] = None
    types_exclude: Annotated[
        list[str] | None, Field(fail_fast=True, description="All types but these. Not with types.")
    ] = None


class GetObservation(_Request):
    """Return one observation of the user in full, or null if the user has none of this id."""

    observation_id: ObservationId


class Timeline(_Request):
    """Return an observation and those before and after it, oldest first."""

    observation_id: ObservationId


class Stats(_Request):
    """Count the user's observations and sessions."""


@dataclass(frozen=True)
class Method:
    """A documented method of ILabMemory."""

    name: str
    request: type[_Request]
    returns: Any
    only_reads: bool = False

    @cached_property
    def result(self) -> TypeAdapter[Any]:
        """The serializer of the results."""
        return TypeAdapter(self.returns)

    @property
    def description(self) -> str:
        """A description of the method, for people and models."""
        return " ".join((self.request.__doc__ or "").split())

    @cached_property
    def is_object(self) -> bool:
        """Whether the result is always a JSON object. Otherwise it is an array or null."""
        return bool(self.result_schema.get("type") == "object")

    @property
    def result_schema(self) -> dict[str, Any]:
        """The JSON schema of the result. An object has its members at the root, also if it refers to itself."""
        schema = self.result.json_schema(mode="serialization")
        if "$ref" in schema:
            name = schema.pop("$ref").rpartition("/")[2]
            schema = {**schema["$defs"][name], **schema}
        return schema


METHODS: Final = {
    method.name: method
    for method in (
        Method("mem_session_start", SessionStart, SessionStartResponse),
        Method("mem_session_end", SessionEnd, Session),
        Method("mem_session_summary", SessionSummary, SaveResult),
        Method("mem_save", Save, SaveResult),
        Method("mem_search", Search, list[ObservationCompact], only_reads=True),
        Method("mem_get_observation", GetObservation, Observation | None, only_reads=True),
        Method("mem_timeline", Timeline, list[Observation], only_reads=True),
        Method("mem_stats", Stats, dict[str, int], only_reads=True),
    )
}


@dataclass(frozen=True, slots=True)
class Violation:
    """An invalid field of a request."""

    field: str
    description: str


class InvalidRequest(ValueError):
    """A request has invalid fields. The text names them and quotes no value."""

    def __init__(self, violations: tuple[Violation, ...], text: str = "") -> None:
        super().__init__(text or "; ".join(f"{each.field}: {each.description}" for each in violations))
        self.violations = violations


def parse(method: Method, arguments: Mapping[str, object]) -> BaseModel:
    """Return the request of *method*.

    Raises:
        InvalidRequest: an argument is missing, unknown or invalid.
    """
    try:
        return method.request.model_validate(arguments)
    except ValidationError as error:
        violations = violations_of(error.errors(include_url=False, include_context=False, include_input=False))
    # Raised outside the handler: the first exception holds the arguments.
    raise InvalidRequest(violations)


def violations_of(errors: Any, skipped: int = 0) -> tuple[Violation, ...]:
    """Return pydantic's errors. *skipped*: parts of each location that do not belong to the request."""
    return tuple(
        Violation(
            ".".join(str(part)[:64] for part in each["loc"][skipped:]) or "body",
            each["msg"].removeprefix("Value error, "),
        )
        for each in errors
    )


def call(mem: ILabMemory, method: Method, request: BaseModel) -> Any:
    """Call *method* and return its result. Blocks.

    Raises:
        InvalidRequest: the library refuses an argument.
        LookupError: there is no active session.
        StorageError: the storage failed.
    """
    arguments = {name: getattr(request, name) for name in type(request).model_fields}
    try:
        return getattr(mem, method.name)(**arguments)
    except ValueError as error:
        # Messages of the library begin with the name of the argument: "title must not be blank".
        text = str(error)
    field, _, description = text.partition(" ")
    raise InvalidRequest((Violation(field, description),) if field in arguments else (), text)
