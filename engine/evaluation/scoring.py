"""Scores predicted calls against labelled ones, exactly as docs/labels.md says.

In: a `Gold` and the calls predicted for it, as plain objects. Out: `Score`, counts that add
up over searches. A prediction is a true positive if it equals a gold call of its tool that
is not matched yet; else a false positive, unless it equals an optional one; a required gold
call that nothing matched is a false negative. Of a `non_job` only the plan is scored. Pure.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

import msgspec

from engine.evaluation.gold import TEXT, Gold, spellings
from schemas.tools import INDUSTRIES

Call = Mapping[str, Any]

_ARTICLE = re.compile(r"^(a|an|the)\s+")
_MARKS = {"optional", "must_include", "must_exclude"}


def normal(text: str) -> str:
    """NFKC, case folded, no punctuation but + and #, no leading article, single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(c for c in folded if c in "+#" or unicodedata.category(c)[0] != "P")
    return _ARTICLE.sub("", " ".join(kept.split()))


class Counts(msgspec.Struct, frozen=True):
    """True positives, false positives, false negatives."""

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def precision(self) -> float:
        """1.0 where nothing was predicted."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else 1.0

    @property
    def recall(self) -> float:
        """1.0 where nothing was to be found."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else 1.0

    @property
    def f1(self) -> float:
        both = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / both if both else 1.0


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """One search's score. `invented` counts wrong text values without any support."""

    id: str
    tools: dict[str, Counts]
    intents: dict[str, Counts]
    calls: int
    invented: int
    wrong: tuple[dict[str, Any], ...]
    missed: tuple[dict[str, Any], ...]

    @property
    def right(self) -> bool:
        """Nothing wrong, nothing missed."""
        return not self.wrong and not self.missed

    @property
    def total(self) -> Counts:
        return sum(self.tools.values(), Counts())


def score(gold: Gold, predicted: Sequence[Call]) -> Score:
    """The score of one search."""
    if gold.intent == "non_job":
        predicted = [call for call in predicted if call["tool"] == "plan"]
    open_gold = sorted(gold.gold, key=lambda call: bool(call.get("optional")))
    optional = [call for call in gold.gold if call.get("optional")]
    industries = {n for c in gold.gold if c["tool"] == "industry" for n in spellings(c["industry"])}
    counts: Counter[tuple[str, str]] = Counter()
    wrong = []
    for call in predicted:
        tool = call["tool"]
        hit = next((g for g in open_gold if equal(call, g, industries)), None)
        if hit is not None:
            open_gold.remove(hit)
            counts[tool, "tp"] += 1
        elif not any(equal(call, g, industries) for g in optional):
            wrong.append(dict(call))
            counts[tool, "fp"] += 1
    missed = [call for call in open_gold if not call.get("optional")]
    for call in missed:
        counts[call["tool"], "fn"] += 1
    tools = {
        tool: Counts(*(counts[tool, kind] for kind in ("tp", "fp", "fn"))) for tool, _ in counts
    }
    return Score(
        id=gold.id,
        tools=tools,
        intents=_intents(gold.intent, predicted),
        calls=len(predicted),
        invented=sum(not supported(call, gold) for call in wrong),
        wrong=tuple(wrong),
        missed=tuple(missed),
    )


def equal(call: Call, gold: Call, industries: Iterable[str]) -> bool:
    """Whether a predicted call is what a gold call asks for."""
    tool = call["tool"]
    if tool != gold["tool"]:
        return False
    if tool == "rewrite":
        return _rewritten(normal(call["query"]), gold)
    if tool == "suggest":
        row = {name for industry in industries for name in INDUSTRIES[industry]}
        return bool(call["values"]) and set(call["values"]) <= row
    if field := TEXT.get(tool):
        return normal(call[field]) in {normal(text) for text in spellings(gold[field])}
    if tool == "industry":
        return call["industry"] in spellings(gold["industry"])
    names = (set(call) | set(gold)) - _MARKS
    return all(call.get(name) == gold.get(name) for name in names)


def _rewritten(text: str, gold: Call) -> bool:
    included = all(
        any(normal(option) in text for option in spellings(wanted))
        for wanted in gold.get("must_include", ())
    )
    return included and not any(normal(word) in text for word in gold.get("must_exclude", ()))


def _intents(wanted: str, predicted: Sequence[Call]) -> dict[str, Counts]:
    said = next((str(call["intent"]) for call in predicted if call["tool"] == "plan"), None)
    if said == wanted:
        return {wanted: Counts(tp=1)}
    missed = {wanted: Counts(fn=1)}
    return missed if said is None else missed | {said: Counts(fp=1)}


def supported(call: Call, gold: Gold) -> bool:
    """Whether any word of a text value stands in the query or the profile, typos aside.

    An abbreviation that the value spells out supports it: initials (rn), or a word's first
    letter and others of it in order (mgr).
    """
    field = TEXT.get(call["tool"])
    if field is None:
        return True
    said = _words(gold.query) | _words(str(gold.profile or ""))
    words = normal(call[field]).split()
    initials = "".join(word[0] for word in words)
    return initials in said or any(_like(word, other) for word in words for other in said)


def _words(text: str) -> set[str]:
    return set(re.findall(r"[\w+#]+", normal(text)))


def _like(word: str, said: str) -> bool:
    if word == said:
        return True
    if len(word) < 4 or len(said) < 2 or word[0] != said[0]:
        return False
    letters = iter(word)
    shortened = all(letter in letters for letter in said)
    return shortened or SequenceMatcher(None, word, said).ratio() >= 0.75


def add(scores: Iterable[Score], what: str = "tools") -> dict[str, Counts]:
    """The counts of all searches, by tool or by intent."""
    total: dict[str, Counts] = {}
    for one in scores:
        for name, counts in getattr(one, what).items():
            total[name] = total.get(name, Counts()) + counts
    return total
