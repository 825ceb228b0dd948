"""A question in natural language to the terms to look up. Pure."""

from ilab_memory.recall.analysis import forms, terms

#: Maximum number of distinct terms of a query that are looked up, from its beginning. A question has ten, a pasted page
#: thousands.
MAX_TERMS = 32
#: Characters of a query that are analyzed.
QUERY_CHARACTERS = 8_192
#: A trimmed query of fewer characters is found by substring only (documented contract).
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
STOP_TERMS = frozenset(terms(_STOP))


def query_terms(query: str, stop_terms: frozenset[str] = frozenset()) -> list[str]:
    """Return the distinct terms of *query* to look up, at most MAX_TERMS.

    English stop words and *stop_terms* are left out, unless the query has no other term.
    """
    found = list(dict.fromkeys(terms(query, most=QUERY_CHARACTERS)))
    chosen = [term for term in found if term not in STOP_TERMS and term not in stop_terms] or found
    return chosen[:MAX_TERMS]


def query_forms(query: str, chosen: list[str]) -> dict[str, tuple[str, ...]]:
    """Return the other forms of the terms that were *chosen* of *query*, see `analysis.forms`."""
    return forms(query, chosen, most=QUERY_CHARACTERS)


def is_short(query: str) -> bool:
    """Return whether the documented contract requires a substring search for *query*."""
    return len(query.strip()) < SHORTEST_INDEXED
