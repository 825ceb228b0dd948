"""Explicit statements of a message, found by tables of words, without a model.

    >>> read("I moved to Lisbon last month. What should I visit?").facts
    (Fact(type='profile', topic_key='home', text='I moved to Lisbon last month.', standing=False),)

`read` looks at one message of a user and returns a `Reading`:

- **facts**: statements that a table knows ("I'm allergic to peanuts", "call me Bob", "from now on answer in Spanish",
  "remember that ..."). Their topic keys are the same in all languages (`home`, `work`, `diet`, `allergy/peanuts`,
  `family/partner`), so that a newer fact replaces an older one. A topic that has several values at once has the value
  in its key. One sentence can be several facts with the same text.
- **pool**: other statements in the first person, which are neither questions nor requests.
- **opt_out**, **forget_last**, **forget_about**, **forget_topics**: what the user says about the memory itself.

A fact that is wrong is in every prompt, so in doubt there is no fact: questions, requests, conditions, fiction, quotes,
code, text to translate or correct, and what others say give none. The pool takes more.

How it works: a message is split into sentences (`sentences.py`). The language with most common words in a sentence
reads it (`language.py`). An index from words to templates leaves the few whose rarest word is in the sentence. A
template that matches a clause (`template.py`) gives a fact, unless its surroundings forbid it (`facts.py`).
Instructions that no template knows are in `instructions.py`, requests about the memory in `memory_requests.py`.

Cost: a table is parsed by `load`, or else when its language is first read. The work is bounded: of a message longer
than 4,000 characters, the first and last 2,000 are read, at most 64 sentences, and at most 16 clauses of a sentence.

How to add a language: copy the table that is closest to it, `tables/<code>.toml`, and translate. Nothing else changes.

- `common`: 50 to 200 frequent words and imperatives, which tell the language of a sentence; `first_person`: words that
  only a speaker uses of themselves; `letters`: letters that only this language has. With `spaced = false` (scripts
  without spaces), `letters` and `first_person_words` instead. These come before `openers`.
- `salutations` begin letters: one that is pasted between the user's own words is not read.
- `openers` are cut off ("by the way"), `adverbs` are skipped ("last month"); an opener that can also be part of a
  statement needs a comma ("no," in Spanish). "(since|from) (today|May)" stands for four phrases.
- `questions`, `requests`, `fiction` and `tasks` are beginnings of sentences; `hypothetical` and `reported` are words
  before a statement that forbid a fact; after `fiction` and `tasks` the rest of the message is ignored.
- `[facts]` and `[standing]`: templates by topic key. The second are instructions for how to answer.
- `[forget]`: templates by topic key, or by `topic` if the topic is the blank `{topic}`.
- `[lists]`: words of the blanks. A list with names (`partner = ["wife", "husband"]`) puts the name into the key. Names
  and topic keys are the same in all tables.
- `streets`: words by which an address is told from a town; `street_endings` of compounds, and `numbered_endings`, which
  towns have too, if there is no number. Templates of `address/at` need an address.
- `[except]`: beginnings of values that make a sentence say something else ("I live in fear"), by topic.

- `instructions.relieved`, `permitted` with `again`, and `restored` take an instruction back (`instructions.py`);
  `generic` words do not tell which one.
- `instructions.addressed`: words by which an instruction speaks to the assistant; `afterthoughts` such as "I suppose".
- `[changes]`: words by which a newer statement says that an older one holds no longer (`outdated.py`): endings ("no
  longer"; "…" stands for some words), `disposed` ("sold"), `instead`, `moved`, `now`; `added` words that mean that both
  hold ("also"); verbs of `events`, which stay true, and verbs with `several` objects at once.
  `hints` put an older statement in doubt (`possibly_outdated.py`); `vague` words do not tell what it is about.
  `left` ends what a name stands for ("I left Leeds"). Ends without a word of change: `died`; `repaid` with `owed`;
  `settled` with words of `open` matters; `unless` words forbid all three. `relocated` words tell a move.
  `capital_nouns` in German.

Then add examples to `examples.toml`, `outdated.toml`, `doubted.toml` and `endings.toml` in
`tests/service/message_statements`, with as many that must not be facts, or of which both hold.
"""

from ilab_chat_service.gc_pause import without_collections
from ilab_chat_service.message_statements.fact_keys import Fact
from ilab_chat_service.message_statements.language import LANGUAGES
from ilab_chat_service.message_statements.reading import Reading, read
from ilab_chat_service.message_statements.statement_words import hints


def load() -> None:
    """Load all tables that are not loaded yet. Takes a quarter of a second of CPU."""
    with without_collections():
        for language in LANGUAGES:
            language.load()
        hints()


__all__ = ["Fact", "Reading", "load", "read"]
