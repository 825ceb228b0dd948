"""A question in natural language to the terms that are looked up. Pure."""

from ilab_memory.recall.analysis import terms

#: At most so many distinct terms of a query are looked up, the first ones: a question has ten, a pasted page thousands.
MAX_TERMS = 32
#: Characters of a query that are read for them.
QUERY_CHARACTERS = 8_192
#: A trimmed query shorter than this, in characters, is found by substring only (documented contract).
SHORTEST_INDEXED = 3

_STOP = """
    a about above after again against all also am an and any are as at be because been before being below between
    both but by can could did do does doing don down during each few for from further had has have having he her
    here hers herself him himself his how i if in into is it its itself just me more most my myself no nor not now
    of off on once only or other our ours ourselves out over own same she should so some such than that the their
    theirs them themselves then there these they this those through to too under until up us very was we were what
    when where which while who whom whose why will with would you your yours yourself yourselves didn doesn isn aren
    wasn weren haven hasn hadn won wouldn couldn shouldn ain let may might must shall upon yes ok okay hi hello hey
    many much kind sort type please tell
"""
# Words with which one asks a memory, and which the thing remembered does not contain.
_ASKING = """
    remember remind recall mention mentioned said told talk talked discuss discussed know previous previously
    earlier conversation conversations chat chats
"""
# Words that say what kind of answer is wanted ("how many days ago", "what was the total"), rarely what it is about.
_FRAME = """
    day week month year hour minute ago time date total number amount current currently recent recently last past
    passed since happen first next later
"""
STOP_TERMS = frozenset(terms(_STOP))
_ASKING_TERMS = frozenset(terms(_ASKING))
_FRAME_TERMS = frozenset(terms(_FRAME))
#: So many other terms must be left for those of the frame to be left out.
_ENOUGH = 2


def query_terms(query: str) -> list[str]:
    """Return the distinct terms of *query* to look up, at most MAX_TERMS; none when it has no term at all.

    English stop words and the words of asking are left out, unless nothing else is left; the words of a question's
    frame are left out if enough others are left.
    """
    found = list(dict.fromkeys(terms(query, most=QUERY_CHARACTERS)))
    words = [term for term in found if term not in STOP_TERMS]
    telling = [term for term in words if term not in _ASKING_TERMS]
    topics = [term for term in telling if term not in _FRAME_TERMS]
    chosen = topics if len(topics) >= _ENOUGH else telling or words or found
    return chosen[:MAX_TERMS]


def is_short(query: str) -> bool:
    """Tell whether the documented contract wants *query* to be found by substring."""
    return len(query.strip()) < SHORTEST_INDEXED
