"""The limits of the library, each defined once."""

#: Characters of ids and titles (documented contract).
MAX_USER_ID = 256
MAX_CONVERSATION_ID = 256
MAX_TITLE = 512
MAX_TOPIC_KEY = 256
#: Bytes of UTF-8 of a content or a summary (documented contract).
MAX_CONTENT_BYTES = 1024 * 1024

#: Facts of one save.
MAX_FACTS = 100
#: Items on one page of `mem_facts`, and statements of `mem_about`.
MOST_FACTS = 1000
#: Characters of the `about` of one observation that `mem_about` reads.
ABOUT_CHARACTERS = 4096
#: Range of ids and of revision counts: integer columns of the stores.
LARGEST_ID = 2**63 - 1
MAX_REVISION_COUNT = 2**31 - 1

#: Newest rows of a session that `mem_recent` reads, and so its longest result.
MOST_RECENT = 1000
#: Items on one page of `mem_list` and `mem_sessions`.
MOST_LISTED = 1000
#: A list shows a content of more than LONG_CHARACTERS by its first PREVIEW_CHARACTERS. Most lists show fewer.
LONG_CHARACTERS, PREVIEW_CHARACTERS = 2048, 512
#: Bytes of contents and `about`, or of summaries, after which such a page ends early.
MOST_LISTED_BYTES = 4 * 1024 * 1024
#: Automatic summaries that are rebuilt when a title that they quote is replaced or erased, the newest ones. Older ones
#: lose all their titles, in one statement.
MOST_REBUILT = 100
#: An export reads pages of this many rows, and ends a page early after this many bytes of text.
EXPORT_PAGE = 100
EXPORT_BYTES = 1024 * 1024
#: Items, sources and bytes of text that an import stores in one transaction. Others' saves wait for it.
IMPORT_ITEMS, IMPORT_SOURCES, IMPORT_BYTES = 20, 1000, 256 * 1024
#: Observations with the same content, and with the same time, among which a save or an import looks for an equal one.
#: Without this limit, each further one of the same content would take longer than the one before.
MOST_COMPARED = 100
#: Sources of one observation of an import.
MAX_SOURCES = 10_000
#: Sources of an import whose observation has not come yet. Each needs 100 bytes of memory, and 2 in the import.
MOST_WAITING_SOURCES = 100_000
