"""Words of a text that may describe it: tokens without stop words, and when two words are nearly the same."""

from __future__ import annotations

import re

# A word starts with a letter that follows no digit (13bn is none), and may hold digits, underscores (identifiers),
# apostrophes and inner hyphens. Anything else that stands between words and is no blank ends a phrase.
_TOKEN = re.compile(r"(?<![^\W_])[^\W\d_]\w*(?:[-'’][^\W\d_]\w*)*|[^\w\s]")
# Scripts written without blanks (Chinese, Japanese kana): a run of characters is cut into overlapping pairs.
_UNSPACED = re.compile(r"[぀-ヿ㐀-䶿一-鿿豈-﫿]{2,}")

_ENGLISH = """
a about above according across actually after again against ago all almost along already also although
always am among an and another any anybody anyone anything are aren't around as at away back be became
because become becomes been before began behind being below besides best better between beyond both but by
came can can't cannot certain come comes could couldn't did didn't different do does doesn't doing don't
done down due during e.g each eight either else enough etc even ever every everybody everyone everything
example except far few first five following for four from full further gave get gets getting give given
gives giving go goes going gone good got great had hadn't has hasn't have haven't having he he'd he'll he's
hence her here here's herein hers herself him himself his how however i i'd i'll i'm i've ie if in inc
indeed instead into is isn't it it's its itself just keep kept kind know known large last later latter least
less let let's like likely little long look looked made mainly make makes making many may maybe me mean
means might mine more moreover most mostly mr mrs ms much must mustn't my myself namely near nearly need
needs neither never nevertheless new next nine no nobody non none nor not nothing now nowhere of off often
oh ok old on once one ones only onto or other others otherwise ought our ours ourselves out over own
particular per perhaps please possible possibly put quite rather re really regarding said same saw say
saying says second see seem seemed seems seen set seven several shall she she'd she'll she's should
shouldn't since six small so some somebody someone something sometimes somewhat somewhere soon still such
take taken takes taking tell ten than that that's the their theirs them themselves then there there's
therefore therein thereof these they they'd they'll they're they've thing things think third this those thou
though three through throughout thus to today together told too took toward towards tried tries try trying
twice two under unless unlike until unto up upon us use used useful uses using usually various very via viz
vs want wants was wasn't way ways we we'd we'll we're we've well went were weren't what what's whatever when
whenever where whereas whereby wherever whether which while who who's whoever whole whom whose why will with
within without won't would wouldn't year years yes yet you you'd you'll you're you've your yours yourself
yourselves
"""
STOP_WORDS = frozenset(_ENGLISH.split())
"""English function words, and words so general that they tell nothing."""

_ENDINGS = ("ions", "ings", "ers", "ors", "ion", "ing", "ed", "er", "or", "es", "e", "s")


def tokens(text: str) -> list[str]:
    """Return the words of a text in their order, in lower case, with "" wherever a phrase ends.

    Stop words, punctuation and words of a single letter end a phrase, so two words that stand side by side in
    the list stood side by side in the text.

    >>> tokens("Nearest neighbours, and the k-means of a neighbour's vectors")
    ['nearest', 'neighbours', '', '', '', 'k-means', '', '', 'neighbour', 'vectors']
    """
    found: list[str] = []
    for match in _TOKEN.findall(text.lower()):
        if _UNSPACED.search(match):
            for run in _UNSPACED.findall(match):
                found += [*(run[i : i + 2] for i in range(len(run) - 1)), ""]
            continue
        word = match.replace("’", "'")
        word = "" if word in STOP_WORDS else word.removesuffix("'s").rstrip("_")
        found.append(word if len(word) > 1 and word not in STOP_WORDS else "")
    return found


def singular(word: str) -> str:
    """Return a key that an English word shares with its plural; it needn't be a word itself.

    This is the S-stemmer of Harman, How Effective is Suffixing?, JASIS 1991.

    >>> singular("queries"), singular("vectors"), singular("status"), singular("class")
    ('query', 'vector', 'status', 'class')
    """
    if len(word) < 4:
        return word
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return f"{word[:-3]}y"
    if word.endswith("s") and not word.endswith(("us", "ss", "aes", "ees", "oes")):
        return word[:-1]
    return word


def root(word: str) -> str:
    """Return what a word shares with its close relatives, to avoid naming a cluster with one idea twice.

    >>> {root(word) for word in ["encode", "encodes", "encoding", "encoder"]}
    {'encod'}
    """
    for ending in _ENDINGS:
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= 4:
            return stem[:-1] if stem[-1] == stem[-2] else stem
    return word
