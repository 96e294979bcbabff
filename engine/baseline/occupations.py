"""What is known of job titles.

In: the packaged list of titles and this package's own lists. Out: `occupations()`. Always: a
title ends in a head ("engineer"), may be preceded by words that some known title has before its
head, and is found as written in the singular.
"""

import gzip
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from engine.baseline.lists import Phrases, by_stems, lines, packaged, pairs, stems, word_set

_LONGEST = 5
_USUAL = 200
_SELDOM = 2  # a word before the head of fewer titles than this extends no title


@dataclass(frozen=True, slots=True)
class Occupations:
    """Titles, the words they end in, the words before those, and functions."""

    titles: Phrases[str]
    fixed: Phrases[str]
    heads: frozenset[str]
    weak_heads: frozenset[str]
    usual_heads: frozenset[str]
    modifiers: frozenset[str]
    functions: Phrases[str]
    weak_functions: frozenset[str]
    short: Phrases[str]
    short_inside: dict[str, str]


def _packaged() -> Iterator[str]:
    packed = packaged("find_job_titles", "titles_combined.txt.gz")
    for line in gzip.decompress(packed).decode("utf-8").splitlines():
        if "," not in line and "/" not in line:
            yield line


@cache
def occupations() -> Occupations:
    """Loads the titles."""
    running = [word for line in lines("title_heads") for word in line.split()]
    weak = frozenset(word[1:] for word in running if word[0] == "+")
    heads = frozenset(word for word in running if word[0] != "+") | weak
    plain = word_set("stop_words")
    before: Counter[str] = Counter()
    last: Counter[str] = Counter()
    titles: dict[str, str] = {}
    for title in _packaged():
        parts = stems(title)
        if 1 < len(parts) <= _LONGEST and parts[-1] in heads and parts[0] not in plain:
            before.update(parts[:-1])
            last[parts[-1]] += 1
            titles[" ".join(parts)] = ""
    own = [*lines("titles_more"), *lines("titles_fixed")]
    titles.update((" ".join(stems(title)), "") for title in own)
    short, inside = _short_forms()
    functions = [(line.removeprefix("?"), "") for line in lines("title_functions")]
    before.update({w: _SELDOM for name, _ in functions for w in stems(name)})
    before.update(dict.fromkeys((stems(k)[0] for k in lines("skills") if " " not in k), _SELDOM))
    modifiers = frozenset(w for w, n in before.items() if n >= _SELDOM and w.isalpha())
    return Occupations(
        titles=Phrases(titles, most=_LONGEST),
        fixed=by_stems((line, "") for line in lines("titles_fixed")),
        heads=heads,
        weak_heads=weak,
        usual_heads=frozenset(head for head, _ in last.most_common(_USUAL)),
        modifiers=(modifiers | inside.keys()) - plain - word_set("job_words"),
        functions=by_stems(functions),
        weak_functions=frozenset(
            " ".join(stems(f[1:])) for f in lines("title_functions") if f[0] == "?"
        ),
        short=by_stems(short.items()),
        short_inside=inside,
    )


def _short_forms() -> tuple[dict[str, str], dict[str, str]]:
    """Short forms of whole titles, and of single words inside one."""
    whole: dict[str, str] = {}
    inside: dict[str, str] = {}
    for left, right in pairs("abbreviations"):
        if left.startswith("-"):
            inside[left[1:]] = right
        else:
            whole[left] = right
    return whole, inside
