"""Made-up searches: parts put together in the ways people put them together.

In: a seeded generator and the pool of values. Out: `Gold`s in the contract's format, each with
its one canonical answer. Four sorts: searches for jobs, searches that refer to the searcher,
near misses that search for no job, and searches by or against a group.
"""

from functools import cache
from random import Random
from typing import Any

from engine.baseline.home import settled
from engine.baseline.lists import fold
from engine.evaluation.gold import ORDER, Gold
from engine.training import sources
from engine.training.noise import cased, misspelt, ornamented
from engine.training.parts import KINDS, Call, Part, Pool, bare_title, plural, unsure_pay
from engine.training.sources import phrases
from schemas.tools import INDUSTRIES, Level

_CRITERIA: Call = {"tool": "plan", "intent": "criteria"}
_WEIGHTS = {
    "title": 46, "near_miss": 3, "location": 17, "company": 13, "skill": 9, "industry": 8,
    "workplace": 5, "employment": 6, "salary": 6, "date_posted": 4, "num_applicants": 4,
    "easy_apply": 3, "in_network": 4, "untagged": 5, "excluded": 3,
}  # fmt: skip
_ALONE = {"title": 56, "near_miss": 2, "location": 12, "company": 10, "skill": 8, "industry": 8,
          "workplace": 1, "employment": 1, "salary": 1, "date_posted": 0.6, "num_applicants": 0.6,
          "easy_apply": 0.6, "in_network": 1.2}  # fmt: skip
_TWICE = {"title", "company", "location", "skill", "workplace", "employment", "industry"}
_LINKS: dict[str, tuple[str, ...]] = {
    "location": ("in {}", "in {}", "{}", "{}", "near {}", "around {}", "{} area", "based in {}"),
    "company": ("at {}", "at {}", "{}", "{}", "for {}", "with {}", "@ {}", "like {}"),
    "skill": ("{}", "{}", "with {}", "using {}", "{} required", "must have {}", "knowing {}"),
    "industry": ("{}", "{}", "in {}", "in the {} field"),
    "salary": ("{}", "{}", "paying {}", "{} salary", "pay {}"),
    "employment": ("{}",), "workplace": ("{}",),
}  # fmt: skip


def criteria(rng: Random, pool: Pool) -> Gold:
    """A search for jobs by one to six parts."""
    count = rng.choices((1, 2, 3, 4, 5, 6), (38, 32, 17, 8, 3, 2))[0]
    kinds = _kinds(rng, count) if rng.random() < 0.96 else _stack(rng)
    home = _home(rng) if rng.random() < 0.55 else None
    parts = [(kind, KINDS[kind](rng, pool)) for kind in kinds]
    parts = [(kind, _placed(part, home) if kind == "location" else part) for kind, part in parts]
    query = _said(rng, parts)
    calls = [call for _, part in parts for call in part.calls]
    if unsure_pay(query, calls):
        return criteria(rng, pool)
    known = all(part.known or not part.calls for _, part in parts)
    query = _typed(rng, query, 0.2 if known else 0.03)
    return _gold(query, [_CRITERIA, *calls], home)


def _kinds(rng: Random, count: int) -> list[str]:
    if count == 1:
        return rng.choices(tuple(_ALONE), tuple(_ALONE.values()))
    kinds: list[str] = []
    while len(kinds) < count:
        kind = rng.choices(tuple(_WEIGHTS), tuple(_WEIGHTS.values()))[0]
        if kind not in kinds or (kind in _TWICE and rng.random() < 0.25):
            kinds.append(kind)
    if not set(kinds) - {"untagged", "excluded"}:
        kinds[0] = "title"
    return kinds


def _stack(rng: Random) -> list[str]:
    """Two to four skills in a row, now and then with something else."""
    return ["skill"] * rng.randrange(2, 5) + rng.choices(
        ([], ["location"], ["workplace"], ["employment"], ["salary"], ["untagged"]),
        (50, 15, 10, 8, 8, 9),
    )[0]


def _placed(part: Part, home: str | None) -> Part:
    """The region added where the home says which of several places is meant."""
    named = str(part.calls[0]["location"])
    if home is None or "," in part.text:
        return part
    if part.text.lower() != named.lower():
        return part
    return Part(part.text, ({"tool": "location", "location": settled(named, home)},), part.known)


def _said(rng: Random, parts: list[tuple[str, Part]]) -> str:
    """One of: bare, keyword soup, a phrase with links, a sentence, a boolean search."""
    style = rng.random()
    if len(parts) == 1:
        kind, part = parts[0]
        return _alone(rng, kind, part)
    if style < 0.45:
        rng.shuffle(parts)
        joint = rng.choices((" ", ", ", " / ", " - "), (12, 3, 0.5, 0.5))[0]
        texts = [part.text for _, part in parts]
        if rng.random() < 0.35:
            at = rng.choice([i for i, (k, _) in enumerate(parts)])
            if parts[at][0] in ("title", "industry", "workplace", "company", "employment"):
                texts[at] += " " + rng.choice(phrases("job"))
        return joint.join(texts)
    if style < 0.5 and all(kind in ("title", "skill", "company", "location") for kind, _ in parts):
        joined = [
            f'"{p.text}"' if rng.random() < 0.5 or " " in p.text else p.text for _, p in parts
        ]
        return rng.choice((" AND ", " AND ", " OR ")).join(joined)
    head = [p for k, p in parts if k in ("workplace", "employment", "near_miss")]
    main = [p for k, p in parts if k in ("title", "near_miss", "industry")]
    head = [p for p in head if p not in main]
    rest = [(k, p) for k, p in parts if p not in head and p not in main]
    rng.shuffle(rest)
    job = rng.choice(phrases("job")) if rng.random() < 0.6 else ""
    if not main and not job:
        job = rng.choice(phrases("job"))
    words = [*(p.text for p in head), " and ".join(p.text for p in main), job]
    words += [rng.choice(_LINKS.get(k, ("{}",))).format(p.text) for k, p in rest]
    text = " ".join(filter(None, words))
    return rng.choice(phrases("ask")).format(text) if style > 0.78 else text


def _alone(rng: Random, kind: str, part: Part) -> str:
    if rng.random() < (0.25 if kind == "industry" else 0.55):
        return part.text
    if kind == "title" and rng.random() < 0.3:
        return rng.choice(phrases("ask")).format(f"{part.text} {rng.choice(phrases('job'))}")
    if kind == "location":
        return rng.choice(("jobs in {}", "{} jobs", "work in {}", "hiring in {}", "jobs {}",
                           "in {}",
                           "anything in {}", "find me a job in {}")).format(part.text)  # fmt: skip
    if kind == "company":
        return rng.choice(("{} jobs", "{} careers", "jobs at {}", "{} hiring", "work at {}",
                           "working for {}", "{} vacancies", "is {} hiring", "roles at {}",
                           "{} openings")).format(part.text)  # fmt: skip
    return f"{part.text} {rng.choice(phrases('job'))}"


def _typed(rng: Random, query: str, slips: float) -> str:
    if rng.random() < slips:
        query = misspelt(query, rng)
    query = cased(query, rng)
    return ornamented(query, rng) if rng.random() < 0.08 else query


_LEVELS: tuple[Level, ...] = ("entry_level", "associate", "mid_senior", "director", "executive")


def profile(rng: Random, pool: Pool, home: str | None) -> dict[str, Any]:
    """Somebody's profile: rich or sparse, with the home if there is one."""
    fields: dict[str, Any] = {}
    own = bare_title(rng, pool)
    if rng.random() < 0.88 and len(own.calls) == 1:
        fields["title"] = own.calls[0]["title"].title()
    if rng.random() < 0.7:
        fields["company"] = rng.choice(sources.employers()).name
    if rng.random() < 0.55:
        fields["industry"] = rng.choice(tuple(INDUSTRIES))
    if home:
        fields["location"] = home
    if rng.random() < 0.55:
        fields["seniority"] = rng.choice(_LEVELS)
    if rng.random() < 0.5:
        fields["years_of_experience"] = rng.randrange(1, 35)
    if rng.random() < 0.6:
        drawn = {rng.choice(sources.skills())[0] for _ in range(rng.randrange(1, 5))}
        fields["skills"] = sorted(drawn)
    if rng.random() < 0.3:
        fields["past_titles"] = [bare_title(rng, pool).calls[0]["title"].title()]
    if rng.random() < 0.25:
        fields["past_companies"] = [rng.choice(sources.employers()).name]
    return fields


def _home(rng: Random) -> str:
    known = sources.cities()
    if rng.random() < 0.45:
        known = _english_speaking()
    city = known[rng.randrange(min(len(known), rng.choice((500, 4_000, 40_000))))]
    return f"{city.name}, {city.code if city.code and rng.random() < 0.15 else city.region}"


@cache
def _english_speaking() -> tuple[sources.City, ...]:
    countries = ("US", "GB", "CA", "AU", "IE", "IN")
    return tuple(c for c in sources.cities()[:9_000] if c.country in countries)


home = _home


def self_reference(rng: Random, pool: Pool) -> Gold:
    """A search that needs a fact of the profile, or two; in a sixth of them it is not there."""
    home = _home(rng) if rng.random() < 0.85 else None
    person = profile(rng, pool, home) if rng.random() < 0.92 else {}
    asked = rng.choices(
        ("near", "same", "fit", "rank", "near same", "near fit", "same rank", "near rank"),
        (34, 22, 22, 6, 7, 4, 3, 2),
    )[0].split()
    stated = _stated(rng, pool, asked, home)
    calls: list[Call] = [call for _, part in stated for call in part.calls]
    found: list[Call] = []
    named = {kind for kind, _ in stated} & {"title", "industry"}
    for want in asked:
        if fact := None if want == "fit" and named else _fact(want, person):
            found += fact[1]
    words = [rng.choice(phrases(w)) for w in asked]
    query = _referring(rng, words, stated)
    plan: Call = {"tool": "plan", "intent": "self_reference"}
    gold = [plan, *calls, *found]
    if found:
        gold.append({"tool": "rewrite", "query": _rewrite(asked, person, stated)})
    query = _typed(rng, query, 0.14)
    return _finished(query, gold, person or None)


def _stated(rng: Random, pool: Pool, asked: list[str], home: str | None) -> list[tuple[str, Part]]:
    """What such a search says by itself: nothing that it asks the profile for."""
    allowed = {"workplace": 3, "employment": 3, "salary": 2, "date_posted": 2, "easy_apply": 2,
               "num_applicants": 2, "company": 2, "untagged": 2.0, "in_network": 1}  # fmt: skip
    if "same" not in asked and "rank" not in asked:
        allowed |= {"title": 10 if "near" in asked and len(asked) == 1 else 1.2, "industry": 1.5}
        if "fit" not in asked:
            allowed |= {"skill": 2}
    if "near" not in asked:
        allowed |= {"location": 3}
    count = rng.choices((0, 1, 2, 3), (40, 40, 15, 5))[0]
    kinds: list[str] = []
    while len(kinds) < count:
        kind = rng.choices(tuple(allowed), tuple(allowed.values()))[0]
        if kind not in kinds:
            kinds.append(kind)
    parts = [(kind, KINDS[kind](rng, pool)) for kind in kinds]
    return [(k, _placed(p, home) if k == "location" else p) for k, p in parts]


def _fact(want: str, person: dict[str, Any]) -> tuple[str, list[Call]] | None:
    if want == "near":
        place = person.get("location")
        return (place, [{"tool": "location", "location": place}]) if place else None
    if want == "rank":
        level = person.get("seniority")
        return (level, [{"tool": "seniority", "level": level}]) if level else None
    if title := person.get("title"):
        return title, [{"tool": "title", "title": title.lower()}]
    if want == "fit" and (key := person.get("industry")):
        return key, [{"tool": "industry", "industry": key}]
    if want == "fit" and (skills := person.get("skills")):
        return skills[0], [{"tool": "skill", "skill": skills[0]}]
    return None


_RANK_WORDS = {"entry_level": "entry level", "associate": "associate level",
               "mid_senior": "mid-senior level", "director": "director level",
               "executive": "executive level"}  # fmt: skip


def _rewrite(asked: list[str], person: dict[str, Any], stated: list[tuple[str, Part]]) -> str:
    """The search as somebody would type it who knows the facts."""
    kinds = dict(stated)
    what = kinds["title"].text if "title" in kinds else ""
    lead = [p.text for k, p in stated if k in ("workplace", "employment", "industry")]
    tail = [p.text for k, p in stated if k not in ("workplace", "employment", "industry", "title",
                                                   "location", "company")]  # fmt: skip
    for want in asked:
        fact = _fact(want, person)
        if fact and want == "rank":
            lead.insert(0, _RANK_WORDS[fact[0]])
        elif fact and want in ("same", "fit") and not what:
            what = fact[0].lower() if fact[1][0]["tool"] == "title" else fact[0]
    words = [*lead, what, "jobs"]
    if "company" in kinds:
        words.append(f"at {kinds['company'].text}")
    if "location" in kinds:
        words.append(f"in {kinds['location'].text}")
    elif "near" in asked and (place := person.get("location")):
        words.append(f"in {place}")
    return " ".join(filter(None, [*words, *tail]))


def _referring(rng: Random, words: list[str], stated: list[tuple[str, Part]]) -> str:
    texts = [rng.choice(_LINKS.get(k, ("{}",))).format(p.text) for k, p in stated if k != "title"]
    head = [p.text for k, p in stated if k == "title"]
    job = rng.choice(phrases("job")) if rng.random() < (0.4 if head else 0.75) else ""
    if not job and not head and any(w in phrases("fit") for w in words):
        job = "jobs"
    rng.shuffle(texts)
    middle = texts[: len(texts) // 2] if rng.random() < 0.5 else []
    after = [t for t in texts if t not in middle]
    text = " ".join(filter(None, [*middle, *head, job, *words, *after]))
    return rng.choice(phrases("ask")).format(text) if rng.random() < 0.16 else text


_STANDS_FOR: dict[str, Call] = {
    "day": {"tool": "date_posted", "within": "day"},
    "week": {"tool": "date_posted", "within": "week"},
    "part_time": {"tool": "employment", "type": "part_time"},
    "full_time": {"tool": "employment", "type": "full_time"},
    "temporary": {"tool": "employment", "type": "temporary"},
    "internship": {"tool": "employment", "type": "internship"},
    "remote": {"tool": "workplace", "type": "remote"},
    "entry_level": {"tool": "seniority", "level": "entry_level"},
}


def foreign(rng: Random, pool: Pool) -> Gold:
    """A search in another language than English, or half in it."""
    says = sources.tongues()[rng.choice(tuple(sources.tongues()))]
    home = _home(rng) if rng.random() < 0.6 else None
    person = profile(rng, pool, home) if rng.random() < 0.7 else {"location": home} if home else {}

    def word(kind: str) -> str:
        text = rng.choice(says[kind])
        return text if rng.random() < 0.6 else fold(text)

    asked = rng.choices(("", "near", "fit"), (72, 18, 10))[0]
    calls: list[Call] = []
    title = ""
    if asked != "fit" and rng.random() < 0.75:
        title = word("title") if rng.random() < 0.75 else rng.choice(pool.titles)
        calls.append({"tool": "title", "title": title})
    what = [title]
    if rng.random() < (0.5 if title else 0.9):
        what.append(word("job"))
        if rng.random() < 0.5:
            what.reverse()
    beside: list[str] = []
    kinds = [kind for kind in _STANDS_FOR if kind in says]
    for kind in rng.sample(kinds, rng.choices((0, 1, 2), (55, 36, 9))[0]):
        if _STANDS_FOR[kind]["tool"] not in {call["tool"] for call in calls}:
            beside.append(word(kind))
            calls.append(_STANDS_FOR[kind])
    if rng.random() < 0.4:
        beside.append(word("untagged"))
    if asked != "near" and rng.random() < 0.45:
        part = _placed(KINDS["location"](rng, pool), home)
        beside.append(word("in").format(part.text) if rng.random() < 0.6 else part.text)
        calls += part.calls
    for kind, share in (("company", 0.12), ("skill", 0.05)):
        if rng.random() < share and asked != "fit":
            part = KINDS[kind](rng, pool)
            beside.append(part.text)
            calls += part.calls
    rng.shuffle(beside)
    fact = _fact(asked, person) if asked else None
    main = " ".join(filter(None, what))
    if fact:
        place = word("in").format(fact[0]) if asked == "near" else ""
        sought = main if asked == "near" else f"{fact[0].lower()} {main}"
        rewrite = " ".join(filter(None, [sought, *beside, place]))
        calls += [*fact[1], {"tool": "rewrite", "query": rewrite}]
    said = [main, *beside]
    if asked:
        said.insert(rng.randrange(1, len(said) + 1), word(asked))
    if rng.random() < 0.2 and not beside[2:]:
        said[0] = word("ask").format(said[0])
    plan = {"tool": "plan", "intent": "self_reference"} if asked else _CRITERIA
    query = _typed(rng, " ".join(filter(None, said)) or word("job"), 0.0)
    return _finished(query, [plan, *calls], person or None)


_MASH = "asdfghjklqwertyuiopzxcvbnm;.,/1234567890"


def _thing(rng: Random, pool: Pool) -> str:
    """A title, company, place or skill, and what makes it no search for a job."""
    kind = rng.choices(("title", "company", "place", "skill", "filter"), (34, 24, 14, 18, 10))[0]
    thing = rng.choice(sources.things()[kind])
    match kind:
        case "title":
            return f"{bare_title(rng, pool).calls[0]['title']} {thing}"
        case "skill":
            return f"{rng.choice(sources.skills())[0]} {thing}"
        case "company" | "place":
            part = KINDS["location" if kind == "place" else "company"](rng, pool)
            return f"{part.text} {thing}"
    return thing


def no_job(rng: Random, pool: Pool) -> Gold:
    """Words of job searches in searches for something else; and junk."""
    if rng.random() < 0.1:
        keys = "".join(rng.choice(_MASH) for _ in range(rng.randrange(2, 18)))
        if rng.random() < 0.4:
            keys = " ".join(keys[i : i + 4] for i in range(0, len(keys), 4))
        query = keys.strip() or "x"
    elif rng.random() < 0.6:
        query = _typed(rng, _thing(rng, pool), 0.08)
    else:
        form = rng.choice(phrases("no_job"))
        query = form.format(
            title=bare_title(rng, pool).calls[0]["title"],
            place=KINDS["location"](rng, pool).text,
            company=KINDS["company"](rng, pool).text,
            skill=rng.choice(sources.skills())[0],
        )
        query = _typed(rng, query, 0.08)
    home = _home(rng) if rng.random() < 0.5 else None
    return _gold(query, [{"tool": "plan", "intent": "non_job"}], home)


def groups(rng: Random, pool: Pool) -> Gold:
    """A search that would shut a group out; as often, one that lets it in."""
    part = bare_title(rng, pool) if rng.random() < 0.7 else None
    job = rng.choice(("jobs", "job", "", "roles", "work")) if part else "jobs"
    what = f"{part.text} {job}".strip() if part else job
    against = rng.random() < 0.5
    query = rng.choice(phrases("against" if against else "for")).format(
        what=what, group=rng.choice(phrases("group"))
    )
    home = _home(rng) if rng.random() < 0.5 else None
    query = _typed(rng, query, 0.08)
    if against:
        plan = {"tool": "plan", "intent": "trust_violation"}
        return _gold(query, [plan, {"tool": "policy", "category": "discrimination"}], home)
    return _gold(query, [_CRITERIA, *(part.calls if part else ())], home)


def _gold(query: str, calls: list[Call], home: str | None) -> Gold:
    """Only the place of a profile is seen where nothing refers to it."""
    return _finished(query, calls, {"location": home} if home else None)


def _finished(query: str, calls: list[Call], person: dict[str, Any] | None) -> Gold:
    once = [call for at, call in enumerate(calls) if call not in calls[:at]]
    if any(call["tool"] == "industry" for call in once):
        once.append({"tool": "suggest"})
    once.sort(key=lambda call: ORDER.index(call["tool"]))
    text = query.strip()[:1_000] or "jobs"
    return Gold(id="", query=text, profile=person, gold=once)


__all__ = ["criteria", "foreign", "groups", "home", "no_job", "plural", "profile", "self_reference"]
