"""Why the query was typed: about the searcher, not about a job at all, or with criteria.

In: a page. Out: whether it needs a fact about the searcher (`refers_to_self`, and whether that
fact is where they live), and whether it is no job search (`is_no_search`). Always: a stated fact
("I live in Boston") is no reference; a query that names a job search is one.
"""

import re
from functools import cache

from engine.baseline.lists import Phrases, by_words, lines, word_set
from engine.baseline.page import Page

_HERE = re.compile(
    r"\b(?:near(?:est|er)?(?: to)? (?:me|home|my \w+|by|us|where i)|near ?by|close(?:r|st)? to "
    r"(?:me|home|my \w+|where i(?:'m)? \w+)|around (?:me|here|my \w+)|(?:miles?|km|mins?|minutes|"
    r"walk|"
    r"drive|distance|commute) (?:from|of|to) (?:my )?"
    r"(?:home|house|place)(?! (?:health|care|depot|based))|where i(?:'m| am)? (?:live|am|currently|"
    r"based|located)(?! in)|"
    r"(?:in |within |around )?my (?:\w+ )?(?:area|city|town|neighbou?rhood|region|state|country|"
    r"county|location|zip(?: ?code)?|postcode|suburb|house|home|place|hometown|district|province|"
    r"locality|commute)|"
    r"(?:walking|driving|biking|commuting) distance(?! (?:of|from|to) (?!me|home|my|here))|"
    r"within \d+ ?(?:miles?|km|mi|minutes|mins|kilomet(?:er|re)s)(?: (?:from|of) (?:me|here|home|"
    r"my \w+))?(?= ?(?:$|[,.;])))\b"
)
_SELF = re.compile(
    r"\bmy (?:(?:own|current|present|old|last|latest|previous|past|former|recent|most recent|exact|"
    r"work|job|professional|linkedin|first|existing|career|main|particular) )*"
    r"(?:profile|resume|cv|background|experiences?|skills?|skill ?sets?|qualifications?|field|"
    r"industry|sector|level|seniority|title|job title|role|job|position|company|companies|"
    r"employers?|"
    r"degree|major|education|career|line of work|profession|occupation|speciali[sz]ation|specialty|"
    r"expertise|trade|history|certifications?|certificates?|interests|school|university|college|"
    r"studies|salary|pay|age|credentials|strengths|licen[cs]e|languages?|discipline|function|"
    r"years of experience|preferences|talents|abilities|work|past|roles|jobs|titles|positions|"
    r"firm)\b(?! (?:is|in|with|as|of|for|includes?|requires?)\b)|"
    r"\b(?:my (?:skills|background|experience|degree|qualifications)|like mine|as mine|than mine|"
    r"same (?:job|role|title|position|work|kind of \w+|type of \w+|line of work|field|industry) "
    r"(?:as (?:mine|now|before|i \w+)|i \w+)|"
    r"what i(?:'m| am)? (?:do|did|studied|currently|doing|used|know|qualified|good at)(?: \w+)?|"
    r"(?:i|i'm|im|i am|i'd be|i would be) (?:qualify|qualified|eligible|suited|suitable|"
    r"best suited|"
    r"(?:a )?good (?:fit|match)|a fit|a match|trained|overqualified)(?: for)?|"
    r"(?:i|i've|i have|ive) (?:used to|worked|previously worked|have worked) (?:do|at|for|"
    r"in before|"
    r"before|with before)?|"
    r"(?:match(?:es|ing)?|suits?|fits?|fit(?:s)? for|right for|good for|suitable for|meant for|"
    r"suited (?:to|for)|recommend(?:ed)?|best for|ideal for|perfect for|tailored to|"
    r"for someone like|"
    r"people like|someone like|relevant to) (?:to )?me|"
    r"(?:jobs|roles|positions|openings|something|anything|opportunities|recommendations|picks|"
    r"work) for me|someone with my \w+|next step (?:up )?(?:in|for)|"
    r"based on (?:me|my \w+)|one level (?:up|above)|i could do|i can do(?! in)|i should apply)\b"
)
_STATED = re.compile(
    r"\bmy (?:first job|dream (?:job|company|role)|own (?:business|boss)|job search|next "
    r"(?:job|role|move)|kids?|schedule|visa|children|son|daughter|wife|husband|family|name)\b"
)
_SEARCH = re.compile(
    r"\b(?:jobs|hiring|openings?|vacanc(?:y|ies)|positions?|roles?|careers?|opportunit(?:y|ies)|"
    r"gigs?|internships?|looking for (?:a |an )?(?:\w+ ){0,3}(?:job|work|position|role)|work as|"
    r"(?:a|an|any) (?:\w+ ){0,3}job|part[- ]time|full[- ]time|employment|recruiting|employers?|"
    r"job in|job at|"
    r"job near|job for|apply for)\b"
)
_QUESTION = re.compile(
    r"^\W*(?:how (?:to|do|does|can|much|many|long|old|tall|far|is|are)|what (?:is|are|does|do|time|"
    r"to|was)|what'?s|why|who (?:is|was|are|won)|when (?:is|does|do|was)|where (?:is|can i buy|"
    r"was)|"
    r"is (?:it|there a way)|can (?:i|you)|should i|does|did|do i|are you|tell me|explain|write|"
    r"draft|"
    r"translate|define|calculate|compare|generate|summari[sz]e|best way to|tips for|ways to|"
    r"average (?:salary|pay|wage)|difference between)\b"
)
_CODE = re.compile(
    r"```|<\?php|</?\w+>|\bdef \w+\(|\bfunction ?\w*\(|\bconsole\.log|\bimport \w+(?:\.\w+)*;?$|"
    r"\bselect \S+ from \w+|\bdrop table\b|=>|\bpublic static\b|#include|\bprint\(|\{\s*\"|;\s*\}|"
    r"\b(?:sudo|npm|pip|git) (?:install|apt|clone|rm)\b|^https?://\S+$|\bvar \w+ ?=|\breturn \w+;"
)
_FANTASY = re.compile(
    r"\b(?:i (?:want|wanna|wish|would like|hope)(?: to)?|how (?:can i|to)|help me|let me) "
    r"(?:be|become|turn into|marry|was|were) (?:an?|the)? ?(?P<being>\w+)"
)
_NOT_A_JOB = re.compile(
    r"\b(?:(?:nose|boob|paint|blow|hand|hatchet|rim|snow|inside|italian|odd) job|steve jobs|"
    r"jobs act|book of job|bank job movie|jobs report|job'?s tears)\b"
)
_BEST = re.compile(
    r"\b(?:best|cheap(?:est)?|top \d+|top)\b.*\b(?:rates?|pizza|restaurants?|phones?|laptops?|"
    r"cars?|movies?|recipes?|hotels?|songs?|books?|places to|shoes|headphones|deals?|flights?)\b"
)
_VOWEL = re.compile(r"[aeiouy\d]")


def refers_to_self(page: Page) -> tuple[bool, bool]:
    """Whether a fact about the searcher is needed, and whether it is where they live; the words
    that say so are taken."""
    here = False
    for _, start, end in page.matches(_HERE):
        page.take(start, end)
        here = True
    about = False
    for match, start, end in page.matches(_SELF):
        if not _STATED.match(page.folded, match.start()):
            page.take(start, end)
            about = True
    return here or about, here


def names_search(page: Page) -> bool:
    """Whether the query says that jobs are looked for."""
    return bool(_SEARCH.search(_NOT_A_JOB.sub(" ", page.folded)))


def is_no_search(page: Page) -> bool:
    """Whether the query's own words say that it is no job search."""
    text = page.folded
    if not page.words or (_FANTASY.search(text) and _is_fantasy(text)):
        return True
    if _NOT_A_JOB.search(text) or _CODE.search(text):
        return not _SEARCH.search(_NOT_A_JOB.sub(" ", text))
    if names_search(page):
        return False
    if _QUESTION.search(text) or _BEST.search(text):
        return True
    phrases = _phrases()
    return any(phrases.longest(page.words, i, len(page)) for i in range(len(page)))


def is_junk(page: Page) -> bool:
    """Whether no word looks like one."""
    long = [word for word in page.words if len(word) > 2 and word.isascii()]
    return all(word.isdigit() or not _VOWEL.search(word) for word in long) and (
        bool(long) or all(word.isdigit() for word in page.words)
    )


def unexplained(page: Page) -> int:
    """How many words of content nothing has accounted for."""
    plain = word_set("stop_words") | word_set("job_words")
    return sum(free and word not in plain for word, free in zip(page.words, page.free, strict=True))


def _is_fantasy(text: str) -> bool:
    match = _FANTASY.search(text)
    return match is not None and match["being"] in word_set("fantasies")


@cache
def _phrases() -> Phrases[str]:
    return by_words((line, "") for line in lines("non_jobs"))
