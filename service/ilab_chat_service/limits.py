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
#: Bytes of UTF-8 of a session's summary that enter the prompt, at most.
PROMPT_SUMMARY_BYTES = 4000
#: Longer than the name of any time zone.
TIME_ZONE_BYTES = 64

SEARCH_PAGE_SIZE = 10
SEARCH_PAGE_SIZE_MOST = 100
PAGE_SIZE = 50
PAGE_SIZE_MOST = 200
#: Bytes of text after which a page of a list ends. One item has 1 MiB at most, and callers accept messages of 4 MiB.
LIST_PAGE_BYTES = 2 * 1024 * 1024
#: Characters of a completed session's summary in the response of StartSession: five of them, of 1 MiB each, would be
#: more than callers accept.
RECENT_SUMMARY_CHARACTERS = 32_768
#: Invalid paths of a field mask that are reported, and paths that it may have.
MASK_VIOLATIONS, MASK_PATHS = 8, 32

#: Messages of an import that are handed to its thread at once, and their bytes after which a page ends before that.
IMPORT_PAGE_ITEMS, IMPORT_PAGE_BYTES = 100, 1024 * 1024

#: Threads for calls of the memory that only read, and for calls that may write: apart, so that writes that wait for a
#: lock, a disk or a standby hold up no reads. The library has as many connections for each. Concurrent saves share one
#: commit.
READ_THREADS = WRITE_THREADS = 8
#: Threads of each kind that one user's calls may have at a time; the user's other calls wait on the event loop.
THREADS_PER_USER = 2
#: Bytes of text above which a call of the memory is long: such calls leave half of the threads to others.
LONG_TEXT_BYTES = 4096
#: Calls of MemoryService that read, exports, and calls that write, that run at once: fewer than the threads, so that
#: the chat always has some.
MEMORY_READS, MEMORY_EXPORTS, MEMORY_WRITES = 4, 3, 4
#: Calls of MemoryService that erase, which run at once. An erasure may wait for minutes until the memory's file may be
#: rewritten, so erasures have threads of their own. Two more threads are for the rest that runs there: unfinished
#: erasures, expiry, the check of a large file, sizes for metrics, and erasures that a turn asks for. Only the number of
#: concurrent chat calls limits how many turns ask for one; an erasure without a thread waits.
MEMORY_ERASURES = 8
ERASURE_THREADS = MEMORY_ERASURES + 2
#: Imports that run at once. Each waits for what its caller sends, on a thread of its own.
MEMORY_IMPORTS = IMPORT_THREADS = 4
#: Threads for consolidation: one for the call that it makes at a time, and one that looks for work.
WORK_THREADS = 2

#: Threads for the prompts and the redaction of long texts. They are Python code: more threads would only take time from
#: each other and from the event loop.
LONG_TEXT_THREADS = 2

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

#: Smallest RSA key that is accepted, of token issuers and of certificates (CA/Browser Forum, Baseline Requirements,
#: 6.1.5).
MIN_RSA_BITS = 2048
#: Fields of any request, each item of a list counted: a valid one has fewer than 100.
REQUEST_FIELDS = 1000
