"""Which of several places of one name is meant by somebody who lives where they live.

In: a place's name and the profile's location. Out: the name as docs/labels.md wants
it. Always: a region is added only where other well-known places bear the name, and exactly one
of them lies in the profile's region, or else in its country.
"""

from math import cos, hypot, radians

import msgspec

from engine.baseline.lists import words
from engine.baseline.places import City, Region, gazetteer

_KNOWN, _KNOWN_SHARE = 24_000, 0.13
"""People, and share of the place that is nearer: as large a rival in the same country, or in one
where English is spoken, makes a name shared. Fitted to the hand-written searches of training."""
_ABROAD, _ABROAD_SHARE = 150_000, 0.1
_FAR_SHARE = 0.15
"""Of the largest of the name; smaller ones in another region than the profile's are not meant."""
_FELLOW_SHARE = 0.15
"""Of the largest of the name in the profile's region or country: smaller ones do not count."""
_COUNTY_KM = 60.0
_LONGEST = 200
_ENGLISH = frozenset("US CA GB AU NZ IE".split())


class _Home(msgspec.Struct):
    """Where somebody lives, as far as it is known; `region` and `country_name` as written."""

    country: str
    admin: str = ""
    city: City | None = None
    region: str = ""
    county: bool = False
    """`region` is no first-level region: a county, say."""
    country_name: str = ""


def settled(named: str, home: str | None) -> str:
    """A place's name as a label has it, searched for by somebody who lives at `home`."""
    known = gazetteer().places.entries.get(" ".join(words(named)))
    if known is None or not known.cities or known.region:
        return named
    return region_added(named, known.cities, home)


def region_added(shown: str, cities: tuple[City, ...], home: str | None) -> str:
    """The name, with its region if it is shared and the home says which."""
    own = _read(home) if home and len(cities) > 1 else None
    region = _meant(cities, own) if own else ""
    return f"{shown}, {region}" if region else shown


def _meant(cities: tuple[City, ...], own: _Home) -> str:
    """The region of the one that is meant; empty if that is not said, or need not be."""
    near = [c for c in cities if own.admin and (c.country, c.admin) == (own.country, own.admin)]
    if own.county and own.city:
        close = [c for c in near if _km(c, own.city) < _COUNTY_KM]
        if len(close) == 1:
            return own.region if _is_shared(close[0], cities) else ""
    found = near or [c for c in cities if c.country == own.country]
    found = [c for c in found if c.population >= _FELLOW_SHARE * found[0].population]
    if len(found) != 1 or not _is_shared(found[0], cities):
        return ""
    one = found[0]
    if near and own.region and not own.county:
        return own.region
    if not near and one.population < _FAR_SHARE * cities[0].population:
        return ""
    return own.country_name or _region_name(one) or gazetteer().countries.get(own.country, "")


def _is_shared(city: City, cities: tuple[City, ...]) -> bool:
    """Whether another place of the name is well known."""

    def known(other: City) -> bool:
        if other.country in (*_ENGLISH, city.country):
            return other.population >= max(_KNOWN, _KNOWN_SHARE * city.population)
        return other.population >= max(_ABROAD, _ABROAD_SHARE * city.population)

    return any(known(other) for other in cities if other != city)


def _km(one: City, other: City) -> float:
    north = one.latitude - other.latitude
    east = (one.longitude - other.longitude) * cos(radians(one.latitude))
    return 111.0 * hypot(north, east)


def _region_name(city: City) -> str:
    for region in gazetteer().codes.values():
        if region.admin and (region.country, region.admin) == (city.country, city.admin):
            return region.name
    return ""


def _read(home: str) -> _Home | None:
    """None where nothing of it is known."""
    parts = [part.strip() for part in home[:_LONGEST].split(",") if part.strip()]
    if not parts:
        return None
    last = _region(parts[-1]) if len(parts) > 1 else None
    if len(parts) == 1 and (whole := _region(parts[0])):
        return _Home(whole.country, whole.admin, region=parts[0])
    known = _cities(parts[0])
    if last:
        known = [c for c in known if c.country == last.country]
        known = [c for c in known if not last.admin or c.admin == last.admin]
    elif len(parts) > 1:  # a region that is not listed: of countries whose regions are not
        known = [c for c in known if c.country not in ("US", "CA", "AU")]
    city = known[0] if known else None
    if city is None and (last is None or (len(parts[-1]) < 4 and _cities(parts[0]))):
        return None  # a code that also stands for something else
    if last is None:
        assert city
        county = len(parts) > 1 and city.country == "GB"
        return _Home(city.country, city.admin, city, parts[-1] if len(parts) > 1 else "", county)
    if last.admin:
        return _Home(last.country, last.admin, city, parts[-1])
    middle = _region(parts[1]) if len(parts) > 2 else None
    admin = middle.admin if middle and middle.admin else city.admin if city else ""
    region = parts[1] if len(parts) > 2 else ""
    return _Home(last.country, admin, city, region, False, "" if region else parts[-1])


def _region(name: str) -> Region | None:
    return gazetteer().codes.get(" ".join(words(name)))


def _cities(name: str) -> list[City]:
    place = gazetteer().places.entries.get(" ".join(words(name)))
    return list(place.cities) if place else []
