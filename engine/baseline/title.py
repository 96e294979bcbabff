"""Job titles and functions the query searches for.

In: a page whose employers, places, levels and the like are taken. Out: the values of `title`,
their words taken. Always: singular, short forms spelled out, without words another tool takes.
"""

from engine.baseline.lists import fold, singular, word_set
from engine.baseline.occupations import occupations
from engine.baseline.page import Page

_LEFT = 4  # words before a known title that may belong to it
_OF = frozenset(
    "director head chief vp svp evp avp president dean manager teacher professor secretary "
    "officer superintendent".split()
)
_TOP = frozenset("director vp svp evp avp president head chief".split())
_GENERIC = frozenset(
    "analyst specialist engineer developer technician consultant coordinator counselor officer "
    "operator designer administrator scientist".split()
)
_PLURALS_KEPT = frozenset({"sales", "operations", "logistics", "resources", "communications"})
_SECTOR_JOINS = frozenset({"or", "and", "in", "as", "for"})


def read_titles(page: Page, sector_at: dict[int, int]) -> list[str]:
    """All titles in the order of the query; `sector_at` maps where a sector's name starts to
    where it ends: such words join a title only if the title is known with them."""
    spans: list[tuple[int, int]] = []
    i = 0
    while i < len(page):
        end = _title_end(page, i, sector_at)
        if end is None:
            i += 1
            continue
        start = _start(page, i, end, sector_at)
        page.take(start, end)
        spans.append((start, end))
        i = end
    spans += _functions(page, bool(spans))
    found: list[str] = []
    for start, end in sorted(spans):
        value = _value(page, start, end)
        if value and fold(value) not in {fold(v) for v in found}:
            found.append(value[:120])
    return found


def _title_end(page: Page, i: int, sector_at: dict[int, int]) -> int | None:
    """Where a title that starts with a known phrase, short form or head at `i` ends."""
    if not page.free[i]:
        return None
    known = occupations()
    stop = page.reach(i, 6, hardest=0)
    end: int | None = None
    for phrases in (known.titles, known.short):
        hit = phrases.longest(page.stems, i, stop)
        if hit and (end is None or hit[0] > end):
            end = hit[0]
    if end is None and _is_head(page, i):
        end = i + 1
    if end is None:
        return None
    while end < stop and _is_head(page, end) and page.stems[end] not in known.weak_heads:
        end += 1
    return _with_domain(page, end, sector_at)


def _is_head(page: Page, i: int) -> bool:
    known = occupations()
    stem = page.stems[i]
    if stem in ("head", "chief") and page.words[i + 1 : i + 2] == ["of"]:
        return True
    if stem in known.short_inside and stem not in known.weak_heads:
        stem = known.short_inside[stem].rsplit(" ", 1)[-1]
    if stem not in known.heads:
        return stem in _TOP and page.words[i] == stem
    if stem in known.weak_heads:
        bounded = i > 0 and page.free[i - 1] and page.breaks[i] == 0
        return bounded and page.stems[i - 1] in known.modifiers
    return True


def _with_domain(page: Page, end: int, sector_at: dict[int, int]) -> int:
    """Adds "of engineering" to "director", or "engineering" to "vp"."""
    last = page.stems[end - 1]
    if last not in _OF or end >= len(page) or page.breaks[end] > 0:
        return end
    at = end
    if page.words[at] == "of":
        at += 1
    elif last not in _TOP:
        return end
    stop = page.reach(at, 4, hardest=0) if at < len(page) else at
    after = at
    while after < stop and _joins(page, after, sector_at if at == end else {}):
        after += 1
    if after == at or not page.is_free(end, after):
        return end
    return after


def _joins(page: Page, i: int, sector_at: dict[int, int]) -> bool:
    known = occupations()
    word, stem = page.words[i], page.stems[i]
    if word == "people":
        return page.words[i - 1] == "of"
    if word in word_set("stop_words") or word in word_set("job_words") or i in sector_at:
        return False
    return stem in known.modifiers or stem in known.heads


def _start(page: Page, i: int, end: int, sector_at: dict[int, int]) -> int:
    """Moves a title's start to the left over words that belong to it."""
    known = occupations()
    taken_by_sector = {w for a, b in sector_at.items() for w in range(a, b)}
    start = i
    if end - i == 1 and _names_kind(page, i):
        start = i - 1
    while start > 0 and i - start < _LEFT and page.breaks[start] == 0:
        before = start - 1
        word = page.words[before]
        if not page.free[before] or before in taken_by_sector:
            break
        if page.word_as_typed(before) == "IT" and page.is_mixed():
            start = before
            continue
        if word in word_set("stop_words") or word in word_set("job_words"):
            break
        if word == "bilingual" or word in word_set("languages"):
            break
        if page.stems[before] not in known.modifiers and not _is_skill_like(page, before):
            break
        start = before
    return start


def _names_kind(page: Page, i: int) -> bool:
    """Whether the word before a head alone says which kind it is: "aviation mechanic",
    "phishing analyst"."""
    if i == 0 or page.breaks[i] or not page.free[i - 1]:
        return False
    if page.is_mixed() and page.is_capital(i - 1):
        return False
    word, stem = page.words[i - 1], page.stems[i - 1]
    if word in word_set("stop_words") or word in word_set("job_words"):
        return False
    if word in word_set("languages") or word == "bilingual" or not word.isalpha():
        return False
    return stem in occupations().modifiers or page.stems[i] in _GENERIC


def _is_skill_like(page: Page, i: int) -> bool:
    """Whether a word looks like a technology before a title: "c++", ".net", "s4hana"."""
    word = page.words[i]
    return any(c in "+#" for c in word) or (
        not word.isalpha() and word[0].isalpha() and sum(c.isdigit() for c in word) < 3
    )


def _functions(page: Page, has_title: bool) -> list[tuple[int, int]]:
    known = occupations()
    spans = []
    for i in range(len(page)):
        if not page.free[i]:
            continue
        hit = known.functions.longest(page.stems, i, page.reach(i, 4))
        if hit is None:
            continue
        end = hit[0]
        searched = _searched(page, i, end)
        weak = " ".join(page.stems[i:end]) in known.weak_functions
        if (weak or has_title) and not searched:
            continue
        while end < len(page) and end - i < 4 and _is_people(page, end):
            end += 1
        page.take(i, end)
        spans.append((i, end))
    return spans


def _is_people(page: Page, i: int) -> bool:
    return page.free[i] and page.breaks[i] == 0 and page.stems[i] in occupations().heads


def _searched(page: Page, start: int, end: int) -> bool:
    """Whether the words stand beside "jobs" or the like, or alone."""
    jobs = word_set("job_words")
    if end < len(page) and page.words[end] in jobs and page.breaks[end] < 2:
        return True
    if end - start == len(page):
        return True
    before = page.words[max(0, start - 2) : start]
    return len(before) == 2 and before[0] in jobs and before[1] in ("in", "as", "for")


def _value(page: Page, start: int, end: int) -> str:
    """The title's words, short forms spelled out, the last one in the singular."""
    known = occupations()
    out: list[str] = []
    i = start
    while i < end:
        hit = known.short.longest(page.stems, i, end)
        if hit:
            out.append(hit[1])
            i = hit[0]
            continue
        stem = page.stems[i]
        last = i == end - 1
        if stem in known.short_inside and (end - start > 1):
            out.append(known.short_inside[stem])
        elif last and stem != page.words[i] and stem in known.heads | known.modifiers:
            kept = page.words[i] in _PLURALS_KEPT or stem not in known.heads
            out.append(page.word_as_typed(i) if kept else singular(page.words[i]))
        elif i + 1 < end and page.words[i + 1] == "of" and stem != page.words[i]:
            out.append(stem)
        else:
            out.append(page.word_as_typed(i))
        i += 1
    value = _joined(page, start, end, out)
    return value.lower() if page.text.isupper() else value


def _joined(page: Page, start: int, end: int, out: list[str]) -> str:
    """Keeps the typed form where no word was changed."""
    typed = page.phrase(start, end)
    plain = [page.word_as_typed(i) for i in range(start, end)]
    return typed if out == plain else " ".join(out)
