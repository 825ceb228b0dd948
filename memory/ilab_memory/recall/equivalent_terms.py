"""Words of a message are looked up together with their forms in other languages, as if all were one term."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from heapq import merge
from itertools import chain, islice
from typing import NamedTuple

from ilab_memory.core.store import Matches, Posting, Store, TermStatistics
from ilab_memory.limits import LARGEST_ID

#: A user with at most this many observations has all of them read in one query. With more, reading only the matching
#: ones costs less.
FEW_ROWS = 32


class EquivalentTerms(NamedTuple):
    """The reads of one user's index. No row has a term and another form of the same word at one place."""

    store: Store
    user_id: str
    forms: Mapping[str, Sequence[str]]
    """The other forms of a term, see `analysis.forms`."""

    def matches(
        self,
        terms: Sequence[str],
        *,
        most_places: int,
        preview_characters: int,
        now: datetime,
        most_frequency: int = LARGEST_ID,
    ) -> Matches:
        """See `Store.matches`. All rows of a user with few are read."""
        every = self._every(terms)
        statistics, postings, rows = self.store.matches(
            self.user_id,
            every,
            # The forms of a word share the rows that it is in.
            most_places=most_places * len(every) // len(terms),
            most_rows=FEW_ROWS,
            preview_characters=preview_characters,
            now=now,
            most_frequency=most_frequency,
        )
        known, most = statistics.frequencies, statistics.observations
        sums = {term: sum(known.get(form, 0) for form in self._of(term)) for term in terms}
        frequencies = {term: min(number, most) for term, number in sums.items() if number}
        return Matches(
            TermStatistics(statistics.observations, statistics.field_lengths, frequencies),
            None if postings is None else self._joined(postings, terms),
            rows,
        )

    def postings(self, terms: Collection[str]) -> Mapping[str, Sequence[Posting]]:
        """See `Store.postings`."""
        return self._joined(self.store.postings(self.user_id, self._every(terms)), terms)

    def newest_with(self, terms: Collection[str], *, in_reply: bool, most: int) -> Mapping[str, Sequence[int]]:
        """See `Store.newest_with`."""
        found = self.store.newest_with(self.user_id, self._every(terms), in_reply=in_reply, most=most)
        return {term: self._newest([found[form] for form in self._of(term)], most) for term in terms}

    def _of(self, term: str) -> tuple[str, ...]:
        return (term, *self.forms.get(term, ()))

    def _every(self, terms: Iterable[str]) -> list[str]:
        return list(dict.fromkeys(form for term in terms for form in self._of(term)))

    def _joined(self, postings: Mapping[str, Sequence[Posting]], terms: Iterable[str]) -> dict[str, Sequence[Posting]]:
        found: dict[str, Sequence[Posting]] = {}
        for term in terms:
            places = [each for form in self._of(term) if (each := postings.get(form))]
            found[term] = places[0] if len(places) == 1 else sorted(chain.from_iterable(places))
        return found

    @staticmethod
    def _newest(numbers: Sequence[Sequence[int]], most: int) -> Sequence[int]:
        if len(numbers) == 1:
            return numbers[0]
        return list(islice(dict.fromkeys(merge(*numbers, reverse=True)), most))
