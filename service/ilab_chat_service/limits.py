"""The limits of the contract and of the service, each defined once. Those of stored text are the library's."""

from __future__ import annotations

from ilab_memory.limits import MAX_CONTENT_BYTES, MAX_TITLE, MAX_TOPIC_KEY, MAX_USER_ID

USER_ID_CHARACTERS = MAX_USER_ID
TITLE_CHARACTERS = MAX_TITLE
TOPIC_KEY_CHARACTERS = MAX_TOPIC_KEY
CONTENT_BYTES = MAX_CONTENT_BYTES
MESSAGE_CHARACTERS = 32_768
REQUEST_ID_CHARACTERS = 64
CONVERSATION_ID_CHARACTERS = 64
#: Bytes of a reply in UTF-8: small enough that the response, with its memories, stays below the 4 MiB that gRPC clients
#: accept by default.
REPLY_BYTES = MAX_CONTENT_BYTES

MODEL_CHARACTERS = 128
STOP_STRINGS = 4
STOP_CHARACTERS = 256
TEMPERATURE_MOST = 2
OUTPUT_TOKENS_MOST = 1_048_576
SCHEMA_BYTES = 32_768
#: Values in a schema, including nested ones. Converting this many takes about 30 ms.
SCHEMA_VALUES = 4096

INSTRUCTIONS_CHARACTERS = 16_384
DOCUMENTS = 32
DOCUMENT_TITLE_CHARACTERS = 512
#: Titles and texts of all documents together.
DOCUMENT_BYTES = 131_072
MEMORY_TYPES = 16
MEMORY_TYPE_CHARACTERS = 64
#: Longer than the name of any time zone.
TIME_ZONE_BYTES = 64

SEARCH_PAGE_SIZE = 10
SEARCH_PAGE_SIZE_MOST = 100
PAGE_SIZE = 50
PAGE_SIZE_MOST = 200
#: Types in the filter of a list.
LIST_TYPES = 16
#: Invalid paths of a field mask that are reported. A request has room for thousands.
MASK_VIOLATIONS = 8

#: Texts and messages with more bytes take long to redact or to serialize: that is done on a thread.
LARGE_BYTES = 16_384

#: Largest integer up to which a double represents every integer.
EXACT_INTEGERS = 2**53

#: Longest UTF-8 encoding of a character, in bytes.
CHARACTER_BYTES = 4
#: Bytes of a request besides its texts: tags, lengths, numbers, type names, and fields of later contract versions.
OTHER_BYTES = 4096
#: Bytes of a chat request: everything that the limits allow.
CHAT_BYTES = (
    CHARACTER_BYTES
    * (
        USER_ID_CHARACTERS
        + MESSAGE_CHARACTERS
        + INSTRUCTIONS_CHARACTERS
        + MEMORY_TYPES * MEMORY_TYPE_CHARACTERS
        + STOP_STRINGS * STOP_CHARACTERS
    )
    + DOCUMENT_BYTES
    + REQUEST_ID_CHARACTERS
    + CONVERSATION_ID_CHARACTERS
    + MODEL_CHARACTERS
    + TIME_ZONE_BYTES
    # A schema takes up to six times the size of its JSON: 0 in a list of numbers is 2 bytes there and 11 in a Struct.
    + 6 * SCHEMA_BYTES
    + OTHER_BYTES
)
#: Bytes of any request: SaveObservation has the largest.
REQUEST_BYTES = (
    CONTENT_BYTES + CHARACTER_BYTES * (USER_ID_CHARACTERS + TITLE_CHARACTERS + TOPIC_KEY_CHARACTERS) + OTHER_BYTES
)
#: Bytes of a call's header fields, each counted with the 32 that HTTP/2 adds (RFC 9113, 6.5.2).
HEADER_BYTES = 16 * 1024
HEADER_FIELD_BYTES = 32

#: Smallest RSA key that is accepted, of token issuers and of certificates.
MIN_RSA_BITS = 2048
