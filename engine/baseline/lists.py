"""Word lists and the matching of phrases.

In: the files of `engine/baseline/lists` (an entry or a row a line; `#` opens a comment line).
Out: tuples, pairs and `Phrases`. Always: the same words are found in a list and in a query,
since both go through `words`; a look-up tries only as many words as some phrase has.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Generic, TypeVar

V = TypeVar("V")

WORD = re.compile(r"[^\W_]+(?:['’.&][^\W_]+)*(?:\+\+|#|\+(?![^\W_]))?")
_INNER = re.compile(r"['’.]")
_KEPT_S = frozenset(
    "sales operations logistics communications relations affairs resources analytics business "
    "process access press services systems sports news always less series species aerobics "
    "mathematics physics economics electronics robotics genomics bus gas plus class glass "
    "mass boss pass dress express compass gis aws ios sas ros devops cis is this us as".split()
)


class _Fold(dict[int, str]):
    """One folded character for one: lower case, no accent. Filled as characters are met."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        base = unicodedata.normalize("NFD", char)[:1] or char
        low = base.lower()
        self[code] = folded = low if len(low) == 1 else base
        return folded


_FOLD = _Fold()


def fold(text: str) -> str:
    """Lower case without accents, of the same length."""
    if text.isascii():
        return text.lower()
    if len(_FOLD) > 5_000:
        _FOLD.clear()
    return text.translate(_FOLD)


def bare(token: str) -> str:
    """A token without inner apostrophes and dots."""
    return _INNER.sub("", token) if not token.isalnum() else token


def singular(word: str) -> str:
    """The singular of an English noun, by its ending."""
    if len(word) < 4 or word[-1] != "s" or word in _KEPT_S or not word.isalpha():
        return "man".join(word.rsplit("men", 1)) if word.endswith("smen") else word
    if word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    return word[:-1]


def words(text: str) -> list[str]:
    """The words of a text as they are compared, plurals kept."""
    return [bare(token) for token in WORD.findall(fold(text))]


def stems(text: str) -> list[str]:
    """The words of a text as they are compared, in the singular."""
    return [singular(word) for word in words(text)]


class Phrases(Generic[V]):
    """Phrases of words and what each stands for; the longest that starts at a place is found."""

    def __init__(self, entries: Mapping[str, V], most: int = 7) -> None:
        self.entries = {key: value for key, value in entries.items() if key}
        self._longest: dict[str, int] = {}
        for key in self.entries:
            first, _, rest = key.partition(" ")
            size = min(rest.count(" ") + 2, most) if rest else 1
            if size > self._longest.get(first, 0):
                self._longest[first] = size

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def longest(self, sequence: Sequence[str], start: int, stop: int) -> tuple[int, V] | None:
        """The end and value of the longest phrase from `start` that ends by `stop`."""
        most = self._longest.get(sequence[start])
        if most is None:
            return None
        for end in range(min(stop, start + most), start, -1):
            key = " ".join(sequence[start:end]) if end > start + 1 else sequence[start]
            if key in self.entries:
                return end, self.entries[key]
        return None


def packaged(package: str, name: str) -> bytes:
    """A data file of an installed package, whose code is not run."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"{package} is not installed")
    return Path(spec.origin).parent.joinpath("data", name).read_bytes()


@cache
def lines(name: str) -> tuple[str, ...]:
    """The entries of a list."""
    text = files("engine.baseline").joinpath("lists", f"{name}.txt").read_text("utf-8")
    return tuple(
        line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")
    )


@cache
def table(name: str) -> tuple[tuple[str, ...], ...]:
    """The rows of a list with columns."""
    text = files("engine.baseline").joinpath("lists", f"{name}.tsv").read_text("utf-8")
    rows = (line.split("\t") for line in text.splitlines() if line and not line.startswith("#"))
    return tuple(tuple(row) for row in rows)


@cache
def word_set(name: str) -> frozenset[str]:
    """All words of a list that is written as running words."""
    return frozenset(word for line in lines(name) for word in words(line))


def pairs(name: str) -> Iterable[tuple[str, str]]:
    """Entries `a = b`; one without `=` stands for itself."""
    for line in lines(name):
        left, found, right = line.partition(" = ")
        yield left.strip(), (right if found else left).strip()


def by_stems(entries: Iterable[tuple[str, V]]) -> Phrases[V]:
    """Phrases that are compared in the singular."""
    return Phrases({" ".join(stems(key)): value for key, value in entries})


def by_words(entries: Iterable[tuple[str, V]]) -> Phrases[V]:
    """Phrases that are compared as they stand."""
    return Phrases({" ".join(words(key)): value for key, value in entries})
