"""The parts of a made-up search: what is typed, and the calls it stands for.

In: a seeded generator. Out: `Part`s, by kind. Always holds: a part's calls are what
docs/labels.md asks for, whatever stands beside it; `known` says that a misspelling of
the part could be mended by somebody who knows the language.
"""

import re
from collections.abc import Callable, Iterable
from functools import cache
from random import Random
from typing import Any

import msgspec

from engine.baseline.lists import fold, lines, words
from engine.baseline.places import gazetteer
from engine.training import sources

Call = dict[str, Any]


class Part(msgspec.Struct, frozen=True):
    text: str
    calls: tuple[Call, ...] = ()
    known: bool = False


class Pool(msgspec.Struct, frozen=True):
    """Values that the hand-written searches of training have, beside the public lists."""

    titles: tuple[str, ...]
    places: tuple[str, ...]
    companies: tuple[str, ...]
    skills: tuple[str, ...]


def plural(word: str) -> str:
    """The plural of an English noun phrase."""
    if word.endswith(("man", "person")):
        return word[:-3] + "men" if word.endswith("man") else word[:-6] + "people"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")


_SHORT_FORMS = tuple(
    (short, long)
    for short, _, long in (line.partition(" = ") for line in lines("abbreviations"))
    if long and not short.startswith("-")
)


def bare_title(rng: Random, pool: Pool) -> Part:
    """A title without a level; now and then by its usual short form."""
    if rng.random() < 0.07:
        short, value = rng.choice(_SHORT_FORMS)
        if not _OWN_LEVEL.search(value):
            return Part(short, ({"tool": "title", "title": value},))
    if rng.random() < 0.5:
        value, known = rng.choice(pool.titles), True
    else:
        drawn = rng.choice(sources.titles())
        if len(drawn.calls) > 1:
            return Part(drawn.text.lower(), drawn.calls)
        value, known = drawn.text.lower(), False
    person = value.isascii() and value.islower() and not value.endswith(_FUNCTION)
    text = plural(value) if person and rng.random() < 0.16 else value
    return Part(text, ({"tool": "title", "title": value},), known)


_FUNCTION = ("ing", "ics", "ment", "logy", "ance", "care", "work", "ity", "tion", "ship", "sales")
"""How titles end that name what is done, not who does it."""

_BEFORE = (
    ("senior", "mid_senior"), ("senior", "mid_senior"), ("sr", "mid_senior"),
    ("sr.", "mid_senior"), ("snr", "mid_senior"), ("lead", "mid_senior"),
    ("mid level", "mid_senior"), ("mid-level", "mid_senior"), ("midlevel", "mid_senior"),
    ("junior", "entry_level"), ("junior", "entry_level"), ("jr", "entry_level"),
    ("jr.", "entry_level"), ("jnr", "entry_level"), ("entry level", "entry_level"),
    ("entry-level", "entry_level"), ("graduate", "entry_level"), ("trainee", "entry_level"),
    ("grad", "entry_level"), ("principal", "mid_senior"), ("staff", "mid_senior"),
    ("associate level", "associate"), ("newly qualified", "entry_level"),
)  # fmt: skip
_AFTER = (
    ("entry level", "entry_level"), ("trainee", "entry_level"), ("no experience", "entry_level"),
    ("no experience needed", "entry_level"), ("junior", "entry_level"), ("senior", "mid_senior"),
    ("mid level", "mid_senior"), ("(senior)", "mid_senior"), ("graduate scheme", "entry_level"),
    ("without experience", "entry_level"), ("freshers", "entry_level"), ("fresher", "entry_level"),
)  # fmt: skip
_ENGINEERS = ("engineer", "developer", "scientist", "designer", "architect", "consultant")
_FIXED = ("nurse", "assistant", "teacher", "secretary", "officer", "producer", "executive",
          "director", "head", "chief", "manager", "supervisor", "leader", "president")  # fmt: skip


def title(rng: Random, pool: Pool) -> Part:
    """A title, in a quarter of the cases with a level."""
    part = bare_title(rng, pool)
    value = str(part.calls[0]["title"])
    if rng.random() > 0.26 or len(part.calls) > 1 or " of " in value:
        return part
    last = value.rsplit(maxsplit=1)[-1]
    if rng.random() < 0.36:
        return _high(rng, value) if last not in _FIXED and len(value) < 24 else part
    after = rng.random() < 0.3
    word, level = rng.choice(_AFTER if after else _BEFORE)
    if word in ("principal", "staff") and last not in _ENGINEERS:
        word, level = "senior", "mid_senior"
    if word == "lead" and (last in _FIXED or value.startswith("gen")):
        word, level = "sr", "mid_senior"
    text = f"{part.text} {word}" if after else f"{word} {part.text}"
    return Part(text, (*part.calls, {"tool": "seniority", "level": level}), part.known)


_FIELDS = (
    *"engineering marketing sales finance operations nursing design communications procurement"
    " logistics education product analytics security compliance policy fundraising research"
    " manufacturing quality safety sustainability growth catering facilities it".split(),
    "human resources", "customer success", "data science", "supply chain", "public affairs",
    "business development", "clinical operations", "software engineering",
)  # fmt: skip


_OWN_LEVEL = re.compile(r"\b(?:chief|director|president|senior|executive|head|lead|staff|junior)\b")
_CHIEFS = {
    "cfo": "financial", "cto": "technology", "coo": "operating", "cmo": "marketing",
    "cio": "information", "ciso": "information security", "cpo": "product", "cro": "revenue",
    "chro": "human resources", "cco": "commercial", "cdo": "data", "cso": "strategy",
}  # fmt: skip


def _chief(rng: Random) -> Part:
    short, field = rng.choice(tuple(_CHIEFS.items()))
    value = "chief executive officer" if rng.random() < 0.12 else f"chief {field} officer"
    short = "ceo" if "executive" in value else short
    text = short if rng.random() < 0.6 else value
    calls = ({"tool": "title", "title": value}, {"tool": "seniority", "level": "executive"})
    return Part(text, calls, text == value)


def _high(rng: Random, _: str) -> Part:
    if rng.random() < 0.3:
        return _chief(rng)
    field = rng.choice(_FIELDS)
    form, level = rng.choice((
        ("director of {}", "director"), ("{} director", "director"), ("head of {}", "director"),
        ("vp of {}", "executive"), ("vp {}", "executive"), ("vice president {}", "executive"),
        ("svp {}", "executive"), ("vice president of {}", "executive"),
    ))  # fmt: skip
    text = form.format(field)
    return Part(
        text, ({"tool": "title", "title": text}, {"tool": "seniority", "level": level}), True
    )


def near_miss(rng: Random, _: Pool) -> Part:
    """A title whose level or contract word belongs to the occupation's name."""
    value = rng.choice(sources.phrases("near_miss"))
    calls: tuple[Call, ...] = ({"tool": "title", "title": value},)
    return Part(value, calls, True)


def _city(rng: Random) -> sources.City:
    known = sources.cities()
    kind = rng.random()
    for share, countries in (
        (0.3, ("US",)),
        (0.45, ("GB", "CA", "AU", "IE", "NZ")),
        (0.53, ("IN",)),
    ):
        if kind < share:
            return rng.choice(_cities_of(countries))
    return known[rng.randrange(rng.choice((300, 2_000, 8_000, len(known))))]


@cache
def _cities_of(countries: tuple[str, ...]) -> tuple[sources.City, ...]:
    return tuple(city for city in sources.cities() if city.country in countries)


def location(rng: Random, pool: Pool) -> Part:
    """A place as named, with its region in some cases."""
    kind = rng.random()
    if kind < 0.3:
        value = rng.choice(pool.places)
        return Part(value.replace(",", "") if rng.random() < 0.5 else value,
                    ({"tool": "location", "location": value},), True)  # fmt: skip
    if kind < 0.37:
        value = rng.choice(sources.regions())
        return Part(value, ({"tool": "location", "location": value},), True)
    city = _city(rng)
    text = value = city.name
    if rng.random() < 0.3:
        comma = rng.choice((", ", ", ", " "))
        value = f"{city.name}, {city.region}"
        text = f"{city.name}{comma}{city.code or city.region}"
        if city.code and rng.random() < 0.3:
            text = f"{city.name}{comma}{city.region}"
    if rng.random() < 0.5 and fold(text) != text.lower():
        text = "".join(
            f if c.islower() else f.upper() for c, f in zip(text, fold(text), strict=True)
        )
        if city.population < 400_000:  # nobody knows where the accent was
            value = text if value == city.name else f"{text.split(',')[0]}, {city.region}"
            if "," not in text and value != text:
                value = text = city.name
    return Part(text, ({"tool": "location", "location": value},), city.population > 300_000)


def company(rng: Random, pool: Pool) -> Part:
    """An employer; ordinary words too."""
    if rng.random() < 0.25:
        value = rng.choice(pool.companies)
        return Part(value, ({"tool": "company", "company": value},), True)
    firm = rng.choice(sources.employers())
    return Part(firm.name, ({"tool": "company", "company": firm.name},), firm.large)


def skill(rng: Random, pool: Pool) -> Part:
    if rng.random() < 0.4:
        value = rng.choice(pool.skills)
        return Part(value, ({"tool": "skill", "skill": value},), True)
    value, kind = rng.choice(sources.skills())
    text = value
    if kind == "language":
        text = rng.choice(("{} speaking", "{}", "fluent {}", "{} speaker", "speak {}")).format(
            value
        )
    elif kind in ("licence", "certificate") and rng.random() < 0.2:
        text = f"{value} {'certified' if kind == 'certificate' else 'holder'}"
    return Part(text, ({"tool": "skill", "skill": value},), True)


def industry(rng: Random, _: Pool) -> Part:
    """Words that name an industry; the suggestion follows from the calls."""
    text, key = rng.choice(sources.sectors())
    if rng.random() < 0.25:
        text = rng.choice(("{} industry", "{} sector", "the {} industry", "{} companies")).format(
            key.lower() if rng.random() < 0.7 else text.removesuffix(" industry")
        )
    return Part(text, ({"tool": "industry", "industry": key},), True)


def workplace(rng: Random, _: Pool) -> Part:
    ways = sources.ways("workplace")
    kind = rng.choices(tuple(ways), (5, 3, 3))[0]
    return Part(rng.choice(ways[kind]), ({"tool": "workplace", "type": kind},))


def employment(rng: Random, _: Pool) -> Part:
    ways = sources.ways("employment")
    kind = rng.choices(tuple(ways), (4, 5, 4, 3, 3, 2))[0]
    return Part(rng.choice(ways[kind]), ({"tool": "employment", "type": kind},))


def date_posted(rng: Random, _: Pool) -> Part:
    ways = sources.ways("date_posted")
    window = rng.choice(tuple(ways))
    return Part(rng.choice(ways[window]), ({"tool": "date_posted", "within": window},))


def num_applicants(rng: Random, _: Pool) -> Part:
    number = rng.choice((5, 10, 10, 15, 20, 25, 30, 40, 50, 100, rng.randrange(2, 120)))
    text = rng.choice(sources.phrases("num_applicants")).format(number)
    return Part(text, ({"tool": "num_applicants", "maximum": number},))


def easy_apply(rng: Random, _: Pool) -> Part:
    return Part(rng.choice(sources.phrases("easy_apply")), ({"tool": "easy_apply"},))


def in_network(rng: Random, _: Pool) -> Part:
    return Part(rng.choice(sources.phrases("in_network")), ({"tool": "in_network"},))


_SYMBOLS = {"$": "USD", "£": "GBP", "€": "EUR", "₹": "INR", "₦": "NGN", "₱": "PHP"}
_CODES = ("USD", "EUR", "GBP", "CAD", "AUD", "NZD", "SGD", "AED", "SAR", "QAR", "ZAR", "KES",
          "NGN", "CHF", "SEK", "NOK", "DKK", "PLN", "INR", "HKD", "JPY", "BRL", "MXN",
          "PHP")  # fmt: skip
_SPOKEN = {"dollars": "USD", "euros": "EUR", "euro": "EUR", "pounds": "GBP", "quid": "GBP",
           "dirhams": "AED", "rupees": "INR", "rs": "INR", "rand": "ZAR", "naira": "NGN",
           "zloty": "PLN", "yen": "JPY", "pesos mexicanos": "MXN", "riyals": "SAR",
           "bucks": "USD"}  # fmt: skip
_PERIODS = {
    "year": (" a year", "/yr", " per year", " per annum", " pa", " annually", " p.a.", "/year",
             " yearly"),
    "month": (" a month", "/month", " per month", " pm", " monthly", "/mo", " p.m."),
    "week": (" a week", "/week", " per week", " weekly", " pw"),
    "day": (" a day", "/day", " per day", " daily", " day rate"),
    "hour": ("/hr", " an hour", " per hour", "/h", " hourly", " ph", "/hour"),
}  # fmt: skip


def salary(rng: Random, _: Pool) -> Part:
    """Pay in one of the forms people use."""
    unusual = rng.random()
    if unusual < 0.1:
        return _lakhs(rng) if unusual < 0.08 else _millions(rng)
    period = rng.choices(tuple(_PERIODS), (6, 2, 1, 1, 4))[0]
    low: float = {
        "year": rng.choice((rng.randrange(20, 200, 5), rng.randrange(18, 320))) * 1_000,
        "month": rng.randrange(10, 120) * 100, "week": rng.randrange(4, 40) * 50,
        "day": rng.randrange(8, 80) * 10,
        "hour": rng.choice((rng.randrange(9, 90), rng.randrange(18, 120) / 2)),
    }[period]  # fmt: skip
    high: float | None = low + {"year": 5_000 * rng.randrange(1, 9), "month": 500, "week": 100,
                                "day": 50, "hour": rng.randrange(1, 12)}[period]  # fmt: skip
    symbol, currency, after = "", None, ""
    kind = rng.random()
    if kind < 0.42:
        symbol, currency = rng.choices(tuple(_SYMBOLS.items()), (6, 4, 4, 2, 1, 1))[0]
    elif kind < 0.55:
        currency = rng.choice(_CODES)
        after = " " + (currency if rng.random() < 0.5 else currency.lower())
    elif kind < 0.66:
        spoken, currency = rng.choice(tuple(_SPOKEN.items()))
        after = " " + spoken
    thousands = period == "year" and rng.random() < 0.68
    big = rng.random()

    def figure(value: float) -> str:
        if thousands:
            return f"{value / 1_000:g}k" if big < 0.9 else f"{value / 1_000:g} k"
        return f"{value:,.0f}" if value >= 1_000 and big < 0.45 else f"{value:g}"

    shape = rng.random()
    unsaid = period == "year" and (thousands or low >= 10_000)
    unsaid = unsaid or (period == "hour" and low < 60 and shape < 0.36)
    said = "" if unsaid and rng.random() < 0.75 else rng.choice(_PERIODS[period])
    if unsaid and not said and period == "hour":
        text = f"{symbol}{figure(low)}+{after}"
        return _pay(text, low, None, currency, period)
    if shape < 0.34:
        plus = "+" if rng.random() < 0.75 else ""
        return _pay(f"{symbol}{figure(low)}{plus}{after}{said}", low, None, currency, period)
    if shape < 0.6:
        word = rng.choice(("at least", "over", "more than", "minimum", "min", "from", "paying",
                           "above", ">", "pays", "starting at", "making"))  # fmt: skip
        return _pay(f"{word} {symbol}{figure(low)}{after}{said}", low, None, currency, period)
    if shape < 0.7:
        word = rng.choice(("up to", "max", "under", "below", "no more than", "upto"))
        return _pay(f"{word} {symbol}{figure(low)}{after}{said}", None, low, currency, period)
    assert high is not None
    dash = rng.choice(("-", "-", " - ", " to ", "–"))
    first = figure(low).removesuffix("k").strip() if rng.random() < 0.5 else figure(low)
    if not thousands:
        first = figure(low)
    again = symbol if rng.random() < 0.4 else ""
    between = "between " if dash == " to " and rng.random() < 0.3 else ""
    dash = " and " if between else dash
    text = f"{between}{symbol}{first}{dash}{again}{figure(high)}{after}{said}"
    return _pay(text, low, high, currency, period)


_OTHER_DOLLARS = frozenset(("CA", "AU", "NZ", "SG", "HK"))


def unsure_pay(query: str, calls: Iterable[Call]) -> bool:
    """Whether "$" stands beside a place where it may be another dollar than that of the USA."""
    names = [call["location"].partition(",")[0] for call in calls if call["tool"] == "location"]
    places = [gazetteer().places.entries.get(" ".join(words(name))) for name in names]
    countries = {
        place.region.country if place.region else place.cities[0].country
        for place in places
        if place and (place.region or place.cities)
    }
    return "$" in query and bool(countries & _OTHER_DOLLARS)


def _millions(rng: Random) -> Part:
    low = rng.choice((1.0, 1.2, 1.5, 2.0, 2.5, 3.0))
    symbol, currency = rng.choice((("$", "USD"), ("£", "GBP"), ("€", "EUR"), ("", None)))
    text = f"{symbol}{low:g}{rng.choice(('m', 'M', ' million', 'mil'))}"
    return _pay(text, low * 1_000_000, None, currency, "year")


def _lakhs(rng: Random) -> Part:
    low = rng.choice((rng.randrange(3, 60), rng.randrange(3, 20) + 0.5))
    high = low + rng.randrange(2, 9) if rng.random() < 0.4 else None
    unit = rng.choice((" lpa", " LPA", "lpa", "LPA", " lakhs", " lakh", " lakhs per annum", "L"))
    text = f"{low:g}-{high:g}{unit}" if high else f"{low:g}{rng.choice(('+', '', ''))}{unit}"
    return _pay(text, low * 100_000, high and high * 100_000, None, "year")


def _pay(
    text: str, low: float | None, high: float | None, currency: str | None, period: str
) -> Part:
    call = {
        "tool": "salary",
        "minimum": low,
        "maximum": high,
        "currency": currency,
        "period": period,
    }
    return Part(text, (call,))


def untagged(rng: Random, _: Pool) -> Part:
    """Words that no tool takes, in a half of the cases a filter's own words."""
    kind = rng.random()
    if kind < 0.25:
        numbers = (rng.choice((2, 3, 4, 5, 8, 10, 12, 20, 30, 50, 100)) for _ in range(2))
        return Part(rng.choice(sources.phrases("figures")).format(*numbers))
    return Part(rng.choice(sources.phrases("words_of_filters" if kind < 0.5 else "untagged")))


def excluded(rng: Random, pool: Pool) -> Part:
    """What the search does not want, and former employers: nothing to tag."""
    kind = rng.random()
    if kind < 0.3:
        what = location(rng, pool).text
        return Part(rng.choice(("not in {}", "not {}", "anywhere but {}", "outside {}", "except {}",
                                "no {}", "NOT {}", "excluding {}")).format(what))  # fmt: skip
    if kind < 0.5:
        what = company(rng, pool).text
        return Part(rng.choice(("not {}", "not at {}", "no {}", "but not {}", "except {}", "ex-{}",
                                "ex {} employee", "former {}", "left {}", "NOT {}",
                                "formerly at {}",
                                "anywhere except {}")).format(what))  # fmt: skip
    if kind < 0.72:
        what = bare_title(rng, pool).text
        return Part(rng.choice(("not {}", "no {}", "NOT {}", "except {}", "-{}", "but not {}",
                                "excluding {}")).format(what))  # fmt: skip
    return Part(rng.choice((
        "not senior", "no senior roles", "not junior", "no management", "no agencies", "not remote",
        "no recruiters", "not part time", "no contract", "no internships", "NOT senior",
        "not entry level", "no commission", "no sales", "no wfh", "nothing part time", "not hybrid",
        "no temp", "NOT manager", "no driving", "no cold calling", "non remote", "not freelance",
    )))  # fmt: skip


KINDS: dict[str, Callable[[Random, Pool], Part]] = {
    "title": title, "near_miss": near_miss, "location": location, "company": company,
    "skill": skill, "industry": industry, "workplace": workplace, "employment": employment,
    "salary": salary, "date_posted": date_posted, "num_applicants": num_applicants,
    "easy_apply": easy_apply, "in_network": in_network, "untagged": untagged,
    "excluded": excluded,
}  # fmt: skip
