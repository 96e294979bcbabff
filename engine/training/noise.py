"""How people really type: slips of the finger, spellings by ear, case, lost spaces, ornaments.

In: a text and a seeded generator. Out: the text as it might be typed. Always holds: a label
written in proper spelling stays right, so numbers and short words are left alone.
"""

import re
from random import Random

_KEYS = {
    key: row[max(at - 1, 0) : at] + row[at + 1 : at + 2]
    for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    for at, key in enumerate(row)
}
_BY_EAR = (
    ("ph", "f"), ("ie", "ei"), ("ei", "ie"), ("ck", "k"), ("tion", "sion"), ("ance", "ence"),
    ("ant", "ent"), ("ent", "ant"), ("er", "or"), ("or", "er"), ("ce", "se"), ("qu", "kw"),
    ("ea", "ee"), ("ai", "ia"), ("ou", "u"), ("mm", "m"), ("ll", "l"), ("ss", "s"), ("tt", "t"),
    ("nn", "n"), ("cc", "c"), ("rr", "r"), ("c", "s"), ("y", "i"), ("gh", ""), ("h", ""),
)  # fmt: skip
_WORD = re.compile(r"[A-Za-z]{5,}")


def misspelt(text: str, rng: Random, share: float = 0.5) -> str:
    """One slip in some of the longer words, at least in one of them if there is any."""
    words = list(_WORD.finditer(text))
    if not words:
        return text
    sure = rng.choice(words).start()
    for match in reversed(words):
        if match.start() == sure or rng.random() < share * 0.4:
            text = text[: match.start()] + _slip(match[0], rng) + text[match.end() :]
    return text


def _slip(word: str, rng: Random) -> str:
    kind = rng.random()
    if kind < 0.3:
        heard = [(a, b) for a, b in _BY_EAR if a in word[1:].lower()]
        if heard:
            was, now = rng.choice(heard)
            at = word.lower().index(was, 1)
            return word[:at] + now + word[at + len(was) :]
    at = rng.randrange(1, len(word) - 1)
    if kind < 0.5:
        return word[:at] + word[at + 1 :]
    if kind < 0.7:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind < 0.82:
        return word[:at] + word[at] + word[at:]
    near = _KEYS.get(word[at].lower(), "")
    return word[:at] + (rng.choice(near) if near else "") + word[at + 1 :]


def cased(text: str, rng: Random) -> str:
    """Mostly lower case, else as it is, in capitals, or with a capital here or there."""
    kind = rng.random()
    if kind < 0.62:
        return text.lower()
    if kind < 0.8:
        return text
    if kind < 0.86:
        return text.upper()
    if kind < 0.94:
        return text[:1].upper() + text[1:].lower()
    return text.title() if "'" not in text else text


_ENDS = ("?", "!", ".", "...", " pls", " please", " thanks", "!!", " ?", ",", " 🙏", " :)", "??")


def ornamented(text: str, rng: Random) -> str:
    """A stray mark, a lost or doubled space, a hashtag."""
    kind = rng.random()
    if kind < 0.45:
        return text + rng.choice(_ENDS)
    if kind < 0.6 and " " in text:
        at = rng.choice([i for i, c in enumerate(text) if c == " "])
        return text[:at] + rng.choice(("  ", "  ", ", ")) + text[at + 1 :]
    if kind < 0.7 and "," in text:
        return text.replace(",", "")
    if kind < 0.86 and len(text) < 24 and text.isascii():
        return "#" + text.replace(" ", "")
    if kind < 0.93:
        return f'"{text}"'
    return text.replace(" ", "  ", 1)
