"""Pay: "$25-30/hr", "100k+", "£40k", "12 LPA", "2000 a week".

In: a page. Out: the calls of `salary`, their words taken. Always: a currency only from a symbol,
code or word of the query; a bare figure is the minimum; "401k", "10k run" and counts of people
are no pay.
"""

import re

from engine.baseline.page import Page
from schemas.tools import Currency, Period, Salary

_SYMBOLS = {
    "$": "USD", "us$": "USD", "c$": "CAD", "ca$": "CAD", "cad$": "CAD", "a$": "AUD", "au$": "AUD",
    "nz$": "NZD", "s$": "SGD", "hk$": "HKD", "r$": "BRL", "mx$": "MXN", "£": "GBP", "€": "EUR",
    "₹": "INR", "¥": "JPY", "₱": "PHP", "₦": "NGN", "₩": "KRW", "₪": "ILS", "zł": "PLN", "r": "ZAR",
}  # fmt: skip
_WORDS = {
    "dollar": "USD", "dollars": "USD", "bucks": "USD", "pounds": "GBP", "quid": "GBP",
    "euro": "EUR", "euros": "EUR", "rupees": "INR", "rs": "INR", "inr": "INR", "dirhams": "AED",
    "dhs": "AED", "rand": "ZAR", "naira": "NGN", "pesos": "MXN", "yen": "JPY", "riyals": "SAR",
    "francs": "CHF", "zloty": "PLN", "ringgit": "MYR", "rm": "MYR", "shillings": "KES",
}  # fmt: skip
_WORDS |= {
    code.lower(): code
    for code in (
        "USD CAD AUD NZD SGD HKD GBP EUR CHF JPY CNY AED SAR QAR KWD ZAR NGN KES GHS EGP PHP MYR "
        "THB IDR VND PKR BDT LKR BRL MXN PLN SEK NOK DKK CZK HUF RON ILS KRW"
    ).split()
}
_DOLLARS = (("CAD", r"canad(?:a|ian)"), ("AUD", r"australian?"), ("NZD", r"new zealand"),
            ("SGD", r"singapore"), ("HKD", r"hong kong"))  # fmt: skip
_PERIODS: tuple[tuple[str, Period], ...] = (
    (r"hours?|hrs?|h|hourly|hour", "hour"),
    (r"days?|daily", "day"),
    (r"weeks?|wks?|wk|weekly", "week"),
    (r"months?|mo|mth|pcm|monthly|mois|mes", "month"),
    (r"years?|yrs?|yr|annum|annual|annually|yearly|pa|y", "year"),
)
_MULTIPLES = {
    "k": 1_000, "grand": 1_000, "thousand": 1_000, "m": 1_000_000, "million": 1_000_000,
    "l": 100_000, "lac": 100_000, "lakh": 100_000, "lakhs": 100_000, "lacs": 100_000,
    "lpa": 100_000, "cr": 10_000_000, "crore": 10_000_000, "crores": 10_000_000,
}  # fmt: skip

_CODE = "|".join(sorted(_WORDS, key=len, reverse=True))
_SIGN = r"(?:(?:us|ca|cad|c|au|a|nz|s|hk|r|mx)?\$|[£€₹¥₱₦₩₪]|r(?=\d{4}))"
_NUMBER = r"\d{1,3}(?:[,.' ]\d{3})+(?!\d)(?:\.\d{1,2})?|\d{1,9}(?:[.,]\d{1,2})?(?![\d])"
_UNIT = r"k|grand|thousand|million|m|lpa|lakhs?|lacs?|crores?|cr|l"
_EACH = (
    r"hourly|daily|weekly|monthly|yearly|annually|annual|p\.?a\.?|pcm|"
    r"(?:/|per|an?|each|every|p(?=[/ ]?(?:h|hr|hour|d|day|w|wk|week|m|y)\b)) ?/? ?"
    r"(?:hours?|hrs?|h|days?|weeks?|wks?|months?|mth|mo|years?|yrs?|annum|y)"
)
_PAY = re.compile(
    rf"(?<![\w.,/$])(?P<lead>(?:between|from|over|above|at least|min(?:imum)?(?: of)?|more than|"
    rf"starting (?:at|from)|under|below|less than|up to|max(?:imum)?(?: of)?|upto|>=?|<=?|"
    rf"(?:pay(?:ing|s)?|salary|wage|earn(?:ing)?|ctc|package|rate)"
    rf"(?: (?:of|is|range|over|above|at least|around|from|up to))*:?) ?)?"
    rf"(?P<code>(?:{_CODE})\.? ?(?=\d))?(?P<sign>{_SIGN} ?)?(?P<low>{_NUMBER}) ?"
    rf"(?P<unit>(?:{_UNIT})(?![^\W\d_]))?(?P<plus>\+)?(?P<mark>€|£|zł)?"
    rf"(?: ?(?:-|–|—|to|and) ?(?P<sign2>{_SIGN} ?)?(?P<high>{_NUMBER}) ?"
    rf"(?P<unit2>(?:{_UNIT})(?![^\W\d_]))?(?P<mark2>€|£|zł)?)?"
    rf" ?(?P<code2>(?:{_CODE})(?![^\W_]))? ?(?P<each>(?:{_EACH})(?![^\W_]))?"
    rf" ?(?P<code3>(?:{_CODE})(?![^\W_]))?"
    rf"(?P<tail> ?(?:\+|plus\b|or (?:more|above|higher|better)|and (?:up|above)|minimum|min\b|"
    rf"or (?:less|under)|max(?:imum)?\b))?"
)
_SIX_FIGURES = re.compile(r"\b(?:six|6)[- ]figures?(?: (?:salary|income|job|pay))?")
_NOT_PAY = re.compile(
    r" ?(?:employees|people|staff|users|followers|miles?|km|run|race|sq|ft|feet|applicants|"
    r"applications|lines|words|steps|units|beds?|plan\b|match|hours?\b|hrs?\b|days?\b|weeks?\b|"
    r"months?\b|years?\b|yrs?\b|lbs?|kg|mg|pounds? of|tons?|mw|kv|v\b|am\b|pm\b|%|/\d|th\b|st\b|"
    r"nd\b|rd\b)"
)
_UPPER = re.compile(r"under|below|less|up ?to|max|<")
_ASKS = re.compile(r"pay|salary|wage|earn|ctc|package|rate")


def read_pay(page: Page) -> list[Salary]:
    """All pay that is asked for, at most two figures a call."""
    found: list[Salary] = []
    for match in _PAY.finditer(page.folded):
        start, end = page.span(*match.span())
        call = _call(page, match) if page.is_free(start, end) else None
        if call is not None and call not in found:
            page.take(start, end)
            found.append(call)
    for _, start, end in page.matches(_SIX_FIGURES):
        page.take(start, end)
        if not found:
            found.append(Salary(minimum=100_000, period="year"))
    return found


def _call(page: Page, match: re.Match[str]) -> Salary | None:
    currency = _currency(page, match)
    unit = match["unit"] or ""
    each = match["each"]
    lead = match["lead"] or ""
    low, high = _amount(match["low"]), _amount(match["high"])
    if low is None or (_NOT_PAY.match(page.folded, match.end()) and not each):
        return None
    if not _is_pay(match, currency, unit or match["unit2"] or "", low, lead):
        return None
    unit2 = match["unit2"] or ""
    if high is not None and high < low and unit and not unit2:
        unit2 = unit
    low *= _MULTIPLES.get(unit or (unit2 if high is not None and low <= high else ""), 1)
    if high is not None:
        high *= _MULTIPLES.get(unit2, 1)
        if high < low:
            return None
    elif (
        _UPPER.match(lead)
        or _UPPER.search(match["tail"] or "")
        or "or less" in (match["tail"] or "")
        or " up to" in lead
    ):
        low, high = None, low
    period = _period(each, low if low is not None else high or 0, unit or unit2)
    return Salary(_whole(low), _whole(high), Currency(currency) if currency else None, period)


def _is_pay(match: re.Match[str], currency: str | None, unit: str, low: float, lead: str) -> bool:
    """Whether the figure is money: something beside it must say so."""
    if match["low"] in ("401", "403", "457") and unit == "k":
        return False
    if currency or match["each"]:
        return low >= 5 or bool(unit or match["sign"] or match["sign2"])
    if unit in ("k", "grand", "thousand"):
        return low >= 12 or bool(match["plus"]) or bool(_ASKS.search(lead))
    if unit not in ("", "l", "m", "million"):
        return True
    return not unit and (_is_large(match, low) or (bool(_ASKS.search(lead)) and low >= 7))


def _is_large(match: re.Match[str], low: float) -> bool:
    """Whether a bare figure can hardly be anything but a year's pay."""
    marked = "," in match["low"] or match["plus"] or match["tail"]
    return low >= 100_000 or (low >= 20_000 and bool(marked))


def _currency(page: Page, match: re.Match[str]) -> str | None:
    for name in ("code", "code2", "code3"):
        if match[name]:
            word = match[name].strip(" .")
            return _dollar(page) if _WORDS[word] == "USD" and word != "usd" else _WORDS[word]
    for name in ("sign", "sign2", "mark", "mark2"):
        if match[name]:
            sign = match[name].strip()
            return _dollar(page) if sign == "$" else _SYMBOLS[sign]
    return None


def _dollar(page: Page) -> str:
    """Whose dollar: that of another dollar country the query names, else the USA's."""
    for code, pattern in _DOLLARS:
        if re.search(rf"\b{pattern}\b", page.folded):
            return code
    return "USD"


def _amount(text: str | None) -> float | None:
    """A number as typed: "1,500", "45.000", "18.50", "12,5"."""
    if text is None:
        return None
    plain = re.sub(r"[,.' ](?=\d{3}(?!\d))", "", text)
    return float(plain.replace(",", "."))


def _whole(amount: float | None) -> int | float | None:
    if amount is None:
        return None
    amount = min(round(amount, 2), 1e12)
    return int(amount) if amount == int(amount) else amount


def _period(each: str | None, amount: float, unit: str) -> Period:
    if each:
        word = re.sub(r"[^a-z ]", " ", each).split()[-1] if each else ""
        for pattern, period in _PERIODS:
            if re.fullmatch(pattern, word):
                return period
    if unit or amount >= 10_000:
        return "year"
    return "hour" if amount <= 200 else "week" if amount < 1_000 else "month"
