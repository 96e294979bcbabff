"""Hand-written searches, varied: other values, other numbers, other people, other typing.

In: a `Gold` written by hand and a seeded generator. Out: a `Gold` with one canonical answer, or
the search as it was written. Always holds: the label is what the writer meant; where a value
cannot be found in the query, the search keeps it.
"""

import re
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

from engine.baseline.home import settled
from engine.evaluation.gold import TEXT, Gold, spellings
from engine.training import sources
from engine.training.compose import home as any_home
from engine.training.compose import profile as any_profile
from engine.training.noise import cased, misspelt, ornamented
from engine.training.parts import KINDS, Call, Pool, plural, unsure_pay

_LEVEL_WORD = re.compile(
    r"(?i)\b(?:director|head|chief|vp|svp|evp|avp|president|intern|trainee|apprentice|manager)\b"
)
_JOINED = re.compile(r"(?i) or |/| and/or ")


def canonical(search: Gold) -> list[Call]:
    """The one answer of a labelled search: first spellings, and no optional call."""
    calls = []
    for call in search.gold:
        if call.get("optional"):
            continue
        plain = {k: v for k, v in call.items() if k not in ("must_include", "must_exclude")}
        field = TEXT.get(call["tool"], "industry" if call["tool"] == "industry" else "")
        if field:
            plain[field] = spellings(call[field])[0]
        if call["tool"] != "rewrite" or plain.get("query"):
            calls.append(plain)
    return calls


def pool(searches: Iterable[Gold]) -> Pool:
    """The values of labelled searches, each as often as it was searched for."""
    found: dict[str, list[str]] = {"title": [], "location": [], "company": [], "skill": []}
    for search in searches:
        if search.intent != "criteria":
            continue
        for call in canonical(search):
            field = TEXT.get(call["tool"])
            if (
                field
                and not _JOINED.search(call[field])
                and not (field == "title" and _LEVEL_WORD.search(call[field]))
            ):
                found[field].append(call[field])
    named = {title.lower() for title in found["title"]}
    found["skill"] = [skill for skill in found["skill"] if skill.lower() not in named]
    return Pool(*(tuple(v) for v in found.values()))


def varied(search: Gold, rng: Random, values: Pool) -> Gold:
    """The search with some of its values, its numbers, its profile and its typing changed."""
    calls = canonical(search)
    query, person = search.query, search.profile
    if search.intent == "criteria":
        if rng.random() < 0.65:
            fresh = _counted(*_swapped(search, calls, rng, values), rng)
            query, calls = (query, calls) if unsure_pay(*fresh) else fresh
        if rng.random() < 0.75:
            person, calls = _moved(query, calls, person, rng)
    elif search.intent == "self_reference":
        calls, person = _another(search, calls, rng, values)
    elif rng.random() < 0.7:
        person = {"location": any_home(rng)} if rng.random() < 0.55 else None
    if rng.random() < 0.5:
        query = cased(query, rng)
    if rng.random() < 0.06:
        query = misspelt(query, rng, 0.2)
    if rng.random() < 0.06:
        query = ornamented(query, rng)
    return Gold(id=search.id, query=query.strip()[:1_000], profile=person, gold=calls)


def _swapped(search: Gold, calls: list[Call], rng: Random, values: Pool) -> tuple[str, list[Call]]:
    """Other titles, places, employers and skills in their places."""
    query = search.query
    spans: list[tuple[int, int, int]] = []
    for at, call in enumerate(calls):
        field = TEXT.get(call["tool"])
        if field is None:
            continue
        source = next(c for c in search.gold if c["tool"] == call["tool"]
                      and spellings(c[field])[0] == call[field])  # fmt: skip
        span = _found(query, spellings(source[field]))
        if span is None or (field == "title" and _LEVEL_WORD.search(call[field])):
            continue
        if any(span[0] < end and start < span[1] for start, end, _ in spans):
            return query, calls
        spans.append((*span, at))
    optional = [_found(query, spellings(c[TEXT[c["tool"]]])) for c in search.gold
                if c.get("optional") and c["tool"] in TEXT]  # fmt: skip
    new = list(calls)
    for start, end, at in sorted(spans, reverse=True):
        beside = any(s and s[0] < end and start < s[1] for s in optional)
        if rng.random() < 0.3 or (beside and calls[at]["tool"] != "title"):
            continue
        was = query[start:end]
        part = KINDS[calls[at]["tool"]](rng, values)
        if len(part.calls) != 1 or part.calls[0]["tool"] != calls[at]["tool"]:
            continue
        text = part.text
        if calls[at]["tool"] == "title":
            text = str(part.calls[0]["title"])
            if was.lower() == plural(str(calls[at]["title"]).lower()):
                text = plural(text)
        query = query[:start] + _like(text, was) + query[end:]
        new[at] = part.calls[0]
    return query, new


def _found(query: str, options: list[str]) -> tuple[int, int] | None:
    """Where one of the spellings stands in the query, the longest of them."""
    best = None
    for option in options:
        loose = re.escape(option).replace(r",\ ", r",?\s+").replace(r"\ ", r"[\s-]+")
        match = re.search(rf"(?i)(?<![\w]){loose}(?:e?s)?(?![\w])", query)
        if match and (best is None or match.end() - match.start() > best[1] - best[0]):
            best = match.span()
    return best


def _like(text: str, was: str) -> str:
    """In the case of what stood there."""
    if was.islower():
        return text.lower()
    if was.isupper() and len(was) > 4:
        return text.upper()
    if was[:1].isupper() and text.islower():
        return text.title() if was.istitle() else text[:1].upper() + text[1:]
    return text


def _counted(query: str, calls: list[Call], rng: Random) -> tuple[str, list[Call]]:
    """Other numbers of applicants and other pay, of the same size and form."""
    new = list(calls)
    for at, call in enumerate(calls):
        if call["tool"] == "num_applicants" and rng.random() < 0.7:
            number = rng.randrange(2, 150)
            most = rf"(?<![\d.,]){call['maximum']}(?![\d.,])"
            swapped, hits = re.subn(most, str(number), query)
            if hits == 1:
                query, new[at] = swapped, call | {"maximum": number}
        if call["tool"] == "salary" and rng.random() < 0.7:
            query, new[at] = _paid(query, call, rng)
    return query, new


_FIGURE = re.compile(r"(?<![\w.,])(\d{1,3}(?:,\d{3})+|\d+(?:\.\d\d?)?)(?=k\b|K\b|[^\d\w.,]|$|\+| )")


def _paid(query: str, call: Call, rng: Random) -> tuple[str, Call]:
    """All bounds moved by one factor; only if each stands plainly in the query, once."""
    bounds = {k: call[k] for k in ("minimum", "maximum") if call[k] is not None}
    factor = rng.choice((0.5, 0.6, 0.8, 0.9, 1.1, 1.2, 1.5, 2))
    new = dict(call)
    found: list[tuple[re.Match[str], str]] = []
    for name, value in bounds.items():
        for scale in (1, 1_000, 100_000):
            hits = [m for m in _FIGURE.finditer(query)
                    if float(m[1].replace(",", "")) * scale == value]  # fmt: skip
            if len(hits) == 1:
                break
        else:
            return query, call
        figure = hits[0][1]
        typed = float(figure.replace(",", "")) * factor
        typed = round(typed) if typed >= 5 else round(typed, 1)
        shown = f"{typed:,.0f}" if "," in figure else f"{typed:g}"
        if "," not in figure and typed >= 100_000:
            shown = str(int(typed))
        new[name] = round(float(shown.replace(",", "")) * scale, 2)
        found.append((hits[0], shown))
    for match, shown in sorted(found, key=lambda one: -one[0].start()):
        query = query[: match.start()] + shown + query[match.end() :]
    return query, new


def _moved(
    query: str, calls: list[Call], person: dict[str, Any] | None, rng: Random
) -> tuple[dict[str, Any] | None, list[Call]]:
    """Somebody else asks, from elsewhere; the writer's place is kept if the home settled it."""
    shown = set(re.findall(r"\w+", query.lower()))
    for call in calls:
        region = call.get("location", "").partition(", ")[2]
        named = shown & set(re.findall(r"\w+", region.lower()))
        if region and not named and not _abbreviated(region, query):
            return person, calls
    if rng.random() < 0.42:
        return None, calls
    home = any_home(rng)
    moved = [
        call | {"location": settled(call["location"], home)}
        if call["tool"] == "location" and "," not in call["location"]
        else call
        for call in calls
    ]
    return {"location": home}, moved


def _abbreviated(region: str, query: str) -> bool:
    short = {c.code.lower() for c in sources.cities() if c.region == region and c.code}
    return bool(short & set(re.findall(r"\w+", query.lower())))


def _another(
    search: Gold, calls: list[Call], rng: Random, values: Pool
) -> tuple[list[Call], dict[str, Any] | None]:
    """Another person asks: where the answer takes title or place, it takes the other's."""
    person = search.profile
    if person is None or rng.random() < 0.3:
        return calls, person
    swaps = dict(_facts(search, calls, rng, values))
    other = any_profile(rng, values, None)
    other = {k: v for k, v in other.items() if k in person and k not in ("title", "industry")}
    new = dict(person)
    for field, (_, now) in swaps.items():
        new[field] = now.title() if field == "title" else now
    if rng.random() < 0.5:
        keep = {"title", "location", "seniority", "industry", "skills", "company", "past_titles",
                "past_companies"}  # fmt: skip
        new |= {k: v for k, v in other.items() if k not in keep}
    changed = []
    for call in calls:
        fresh = dict(call)
        for field, (was, now) in swaps.items():
            told = "query" if call["tool"] == "rewrite" else field
            if told in fresh:
                fresh[told] = re.sub(re.escape(was), now.replace("\\", ""), fresh[told], flags=re.I)
        changed.append(fresh)
    return changed, new


def _facts(
    search: Gold, calls: list[Call], rng: Random, values: Pool
) -> Iterator[tuple[str, tuple[str, str]]]:
    """Field of the profile, and its value as the answer has it with the one to come."""
    person = search.profile or {}
    rewrite = next((c["query"] for c in calls if c["tool"] == "rewrite"), "")
    for field, tool in (("title", "title"), ("location", "location")):
        made = [str(c[tool]) for c in calls if c["tool"] == tool]
        held = str(person.get(field) or "")
        if not held or made.count(made[0] if made else "") != 1 or len(made) != 1:
            continue
        value = made[0]
        if value.lower() != held.lower() or value.lower() not in rewrite.lower():
            continue
        if _found(search.query, [value]):
            continue
        now = any_home(rng) if field == "location" else _plain_title(rng, values)
        yield field, (value, now)


def _plain_title(rng: Random, values: Pool) -> str:
    while True:
        part = KINDS["title"](rng, values)
        if len(part.calls) == 1:
            return str(part.calls[0]["title"])
