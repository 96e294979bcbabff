"""The tools: what the engine may call, as one tagged union.

The order of `CALLS` is the order of an answer. Grammar, added tokens, decoder and
JSON Schema are all derived from these structs (`engine.language`).
"""

import json
from enum import StrEnum
from importlib.resources import files
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

INDUSTRIES: dict[str, tuple[str, ...]] = {
    name: tuple(related)
    for name, related in json.loads(
        files("schemas").joinpath("industries.json").read_text("utf-8")
    ).items()
}
"""Each industry's row: the industries that may be suggested beside it."""

# Active ISO 4217 codes of national currencies.
_CURRENCIES = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP
BYN BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP
GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES
KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU
MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON
RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND
TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG
""".split()

IndustryName = StrEnum("IndustryName", {name: name for name in INDUSTRIES})  # type: ignore[misc] # the taxonomy is data
Currency = StrEnum("Currency", {code: code for code in _CURRENCIES})  # type: ignore[misc] # the list above is data

Intent = Literal["criteria", "self_reference", "non_job", "trust_violation"]
WorkplaceType = Literal["remote", "hybrid", "on_site"]
EmploymentType = Literal[
    "full_time", "part_time", "contract", "temporary", "internship", "volunteer"
]
Level = Literal["internship", "entry_level", "associate", "mid_senior", "director", "executive"]
Within = Literal["day", "week", "month"]
Period = Literal["year", "month", "week", "day", "hour"]
Category = Literal["offensive_language", "violence", "discrimination", "self_harm", "other_harm"]
Text = Annotated[str, Meta(min_length=1, max_length=120)]
LongText = Annotated[str, Meta(min_length=1, max_length=1_000)]
Amount = Annotated[int, Meta(ge=0, le=10**12)] | Annotated[float, Meta(ge=0, le=10**12)]


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


class Tool(msgspec.Struct, frozen=True, tag_field="tool", tag=_snake, forbid_unknown_fields=True):
    """A call of a tool. Text is trimmed; raises `ValueError` if nothing is left of it."""

    def _trim(self, field: str) -> None:
        text = getattr(self, field).strip()
        if not text:
            raise ValueError(f"`{field}` is blank")
        msgspec.structs.force_setattr(self, field, text)


class Plan(Tool, frozen=True):
    """Always first, exactly once."""

    intent: Intent


class Rewrite(Tool, frozen=True):
    """Self-reference only: the query with the profile's facts written into it."""

    query: LongText

    def __post_init__(self) -> None:
        self._trim("query")


class Title(Tool, frozen=True):
    """A job title or role; one call per value."""

    title: Text

    def __post_init__(self) -> None:
        self._trim("title")


class Company(Tool, frozen=True):
    """An employer."""

    company: Text

    def __post_init__(self) -> None:
        self._trim("company")


class Location(Tool, frozen=True):
    """A place."""

    location: Text

    def __post_init__(self) -> None:
        self._trim("location")


class Workplace(Tool, frozen=True):
    """Where the work is done."""

    type: WorkplaceType


class Employment(Tool, frozen=True):
    """The kind of contract."""

    type: EmploymentType


class Seniority(Tool, frozen=True):
    """A level."""

    level: Level


class Industry(Tool, frozen=True):
    """Only when the query names the industry."""

    industry: IndustryName


class Skill(Tool, frozen=True):
    """A skill, tool, language or certificate asked for."""

    skill: Text

    def __post_init__(self) -> None:
        self._trim("skill")


class Salary(Tool, frozen=True):
    """Pay; a missing bound or currency is null. At least one bound is given."""

    minimum: Amount | None = None
    maximum: Amount | None = None
    currency: Currency | None = None
    period: Period = "year"

    def __post_init__(self) -> None:
        if self.minimum is None and self.maximum is None:
            raise ValueError("`minimum` and `maximum` are both null")


class DatePosted(Tool, frozen=True):
    """The smallest window that covers what was asked."""

    within: Within


class NumApplicants(Tool, frozen=True):
    """An upper limit of applicants."""

    maximum: Annotated[int, Meta(ge=0, le=1_000_000)]


class EasyApply(Tool, frozen=True):
    """Jobs with quick application."""


class InNetwork(Tool, frozen=True):
    """Jobs where the member knows someone."""


class Suggest(Tool, frozen=True):
    """Last; only when an `industry` call was made: 1 to 3 industries of its row."""

    facet: Literal["industry"]
    values: Annotated[tuple[IndustryName, ...], Meta(min_length=1, max_length=3)]


class Policy(Tool, frozen=True):
    """trust_violation only, and then the only call besides `plan`."""

    category: Category


Call = (
    Plan | Rewrite | Title | Company | Location | Workplace | Employment | Seniority | Industry
    | Skill | Salary | DatePosted | NumApplicants | EasyApply | InNetwork | Suggest | Policy
)  # fmt: skip
CALLS: tuple[type[Tool], ...] = get_args(Call)

decode_call = msgspec.json.Decoder(Call).decode
encode_call = msgspec.json.Encoder().encode


def tool_name(call: type[Tool]) -> str:
    """The tag of a struct: `DatePosted` is `date_posted`."""
    return str(call.__struct_config__.tag)


TEXTS: dict[type[Tool], str] = {tool: tool_name(tool) for tool in (Title, Company, Location, Skill)}
"""Tools with one text that stands in the query; its field is called as the tool."""
