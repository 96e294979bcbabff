"""Queries that break the community's rules, by pattern.

In: a query's folded text. Out: the category, or None. Always: benign uses of the same words
("killer app developer", "suicide prevention counselor", "gun shop clerk", "anti money laundering
analyst") are let through; mere swearing is, too.
"""

import re

from schemas.tools import Category


def _any(*parts: str) -> re.Pattern[str]:
    return re.compile("|".join(rf"\b(?:{part})\b" for part in parts))


_ME = r"(?:my|your|the|this|that|his|her|their|a|an|some|all|every|these|those)"
_PERSON = (
    rf"(?:{_ME} )?(?:\w+ )?(?:boss(?:es)?|manager|supervisor|co-?workers?|colleagues?|recruiters?|"
    r"people|person|someone|somebody|everyone|everybody|him|her|them|you|wife|husband|"
    r"ex(?:-wife|-husband|-boss|-girlfriend|-boyfriend)?|neighbou?rs?|teachers?|students?|kids?|"
    r"child(?:ren)?|women|men|cops?|police officers?|president|family|parents?|animals?|puppies|"
    r"hr (?:lady|guy|manager|team|department|person)|landlord|politicians?|ceo)"
)
_SLURS = (
    r"nigg(?:er|a)s?", r"kikes?", r"spics?", r"chinks?", r"gooks?", r"fagg?(?:ot)?s?",
    r"trann(?:y|ies)",
    r"wetbacks?", r"pakis?", r"retards?", r"ragheads?", r"towelheads?", r"coons?", r"dykes?",
)  # fmt: skip
_INSULT = (
    r"(?:idiots?|morons?|bitch(?:es)?|assholes?|arseholes?|cunts?|bastards?|scumbags?|scum|"
    r"dickheads?|wankers?|twats?|motherfuckers?|dumbass(?:es)?|losers?|pricks?|whores?|sluts?|"
    r"imbeciles?|douchebags?|clowns?|pigs?|jackass(?:es)?|crap|trash|garbage|parasites?|vermin)"
)
_AIMED = (
    r"(?:you|u|your|ur|youre|you're|these|those|they|they're|recruiters?|hr|boss|"
    r"manager|he|she)"
)
_GROUP = (
    r"(?:women|woman|females?|girls|men|males?|blacks?|black people|whites?|white people|asians?|"
    r"indians?|mexicans?|latinos?|hispanics?|arabs?|africans?|chinese(?: people)?|pakistanis?|"
    r"immigrants?|foreigners?|muslims?|jews?|christians?|hindus?|catholics?|atheists?|gays?|"
    r"gay people|lesbians?|homosexuals?|trans(?:gender)?(?: people)?|queers?|lgbtq?|"
    r"old(?:er)? people|elderly|boomers|disabled(?: people)?|cripples?|handicapped|"
    r"pregnant women|mothers|moms|gypsies|roma|refugees|migrants|people of colou?r|minorities|"
    r"black(?: \w+){0,1} staff|ethnics?)"
)
_TRAIT = (
    r"(?:white|black|male|female|christian|muslim|jewish|hindu|catholic|straight|caucasian|"
    r"asian|native[- ]born|young|able[- ]bodied|heterosexual|arab|brahmin|upper[- ]caste|"
    r"american[- ]born|unmarried|single|attractive|pretty|good[- ]looking)"
)
_STAFF = (
    r"(?:staff|people|men|women|guys|girls|males?|females?|employees|workers|candidates|"
    r"applicants|teams?|boss(?:es)?|managers?|coworkers|colleagues|folks|person|ladies|race)"
)
_BENIGN = _any(
    r"prevent(?:ion|ing)?", r"counsel(?:l?ors?|l?ing)?", r"therap(?:y|ists?)", r"hot ?lines?",
    r"help ?lines?", r"life ?line", r"support(?: workers?| groups?)?", r"research(?:ers?)?",
    r"investigat(?:or|ors|ions?|ing)", r"analysts?", r"compliance", r"anti", r"counter",
    r"awareness", r"advoca(?:te|tes|cy)", r"officers?", r"attorneys?", r"lawyers?",
    r"prosecutors?", r"detect(?:ion|ive|ives)", r"forensics?", r"survivors?", r"victims?",
    r"rehab(?:ilitation)?", r"recovery", r"nurses?", r"social work(?:ers?)?", r"psychologists?",
    r"examiners?", r"intervention", r"crisis", r"combat(?:t)?ing", r"against", r"defen[cs]e",
    r"response", r"responder", r"disposal", r"specialists?", r"security", r"auditors?", r"charity",
    r"ngo", r"technicians?", r"simulations?", r"engineers?", r"enforcement", r"historian",
    r"movie", r"film", r"game", r"games", r"novel", r"podcast", r"agents?", r"squad", r"unit",
    r"shelter", r"bereavement", r"paralegals?", r"policy", r"writer", r"journalist",
)  # fmt: skip
_INCLUSIVE = _any(
    r"returners?", r"shelter", r"refuge", r"gym", r"clothing", r"fashion", r"college", r"health",
    r"lingerie", r"leadership", r"network(?:ing)?", r"in tech", r"in engineering", r"friendly",
    r"welcome", r"encouraged", r"inclusi(?:ve|on)", r"divers(?:e|ity)", r"hostel", r"ward",
    r"pool", r"welcoming", r"supportive", r"scholarship", r"hiring program(?:me)?",
    r"spa", r"prison",
)  # fmt: skip

_MEDIA = _any(
    r"photograph\w*", r"video\w*", r"film\w*", r"camera\w*", r"games?", r"novel", r"movie",
    r"theat(?:er|re)", r"stunt\w*", r"the competition", r"deadlines?", r"weddings?", r"headshots?",
)  # fmt: skip

# Said in earnest, whatever else stands beside.
_PLAIN: tuple[tuple[re.Pattern[str], Category], ...] = (
    (
        _any(
            r"(?:kill|killing|hurt|harm|cut|cutting|hang|shoot|unalive|off) (?:myself|my self)",
            r"end (?:my (?:own )?life|it all)|(?:take|taking) my own life|kms",
            r"(?:want|wanna|going|gonna|ready|ways?|how) (?:to )?die|suicidal thoughts",
            r"(?:don'?t|do not) (?:want to|wanna) (?:live|be alive|exist)(?: any ?more)?(?! (?:in|"
            r"with|near|at))",
            r"(?:painless|easiest|quickest|best) (?:way|method)s? to (?:die|suicide)",
            r"better off dead|no reason to live|commit(?:ting)? suicide|overdose on",
            r"how (?:many|much) \w+ (?:does it take|to take) to (?:die|overdose)|starve myself",
        ),
        "self_harm",
    ),
    (
        _any(
            rf"(?:kill|murder|shoot|stab|strangle|assassinate|behead|torture|poison|lynch|execute|"
            rf"beat up|beat|punch|attack|slap|hurt|maim|run over|burn|rape|choke|destroy) {_PERSON}"
            r"(?! (?:skills|rights|care|portraits|photo))",
            r"(?:legally|get paid to|paid to) (?:kill|hurt|beat|torture|shoot|murder|attack)",
            r"hit ?m[ae]n|contract killers?|hired killers?|paid killers?|assassins? for hire|"
            r"professional (?:killer|assassin)s?|murder(?:er)? for hire|job as an? assassin",
            rf"(?:blow up|bomb|burn down|shoot up|set fire to|set \w+ \w+ on fire|attack) "
            rf"(?:{_ME} )?(?:\w+ )?(?:office|building|school|hospital|church|mosque|synagogue|"
            r"company|place|store|hq|headquarters|warehouse|airport|embassy|city hall)",
            r"(?:mass|school|workplace) shooting (?:plan|at)|beat (?:him|her|them|people) until",
            r"want to see \w+ (?:bleed|suffer|dead)|deserves? to die|hope (?:you|they) die",
        ),
        "violence",
    ),
    (
        _any(
            *_SLURS,
            rf"(?:no|without|except|minus|never) (?:any )?(?:{_TRAIT} )?{_GROUP}"
            r"(?:(?: please| allowed| on (?:the|my) team| in (?:them|it|the \w+)| at all| only))?"
            rf"(?! (?:owned|clothing|health|s clothing))",
            rf"(?:only|just|exclusively|solely) (?:hir\w+ |tak\w+ |accept\w+ |for |want |wants |"
            rf"employ\w* )?{_TRAIT} {_STAFF}",
            rf"(?:only|exclusively) (?:hir(?:e|es|ing)|tak(?:e|es|ing)|employ(?:s|ing)?|accepts?|"
            rf"wants?) (?:{_TRAIT}|{_GROUP})",
            rf"(?:{_TRAIT} {_STAFF}|whites|blacks|men|males?|females?|muslims|christians|jews|"
            r"caucasians?|locals by birth|straights) only",
            rf"(?:hate|hates|despise|can'?t stand|sick of|tired of|refuse to (?:work|report|answer)"
            rf"(?: \w+){{0,3}}) (?:working (?:with|for) )?(?:an? |to )?(?:all )?(?:the )?{_GROUP}",
            r"refuse to (?:work|report|answer|listen)(?: \w+){0,3} (?:female|male|woman|black|"
            r"white|"
            r"gay|muslim|jewish|indian|foreign|asian|trans)(?: \w+)?",
            rf"{_GROUP} (?:can'?t|cannot|should ?n[o']t|belong in|are (?:too |so )?(?:inferior|"
            rf"lazy|"
            r"stupid|dumb|dirty|criminals|useless|weak|bad|disgusting)|don'?t (?:belong|deserve)|"
            r"ruin|steal(?:ing)?|taking our)",
            rf"(?:don'?t|doesn'?t|do not|does not|wont|won'?t|will not|not) (?:hire|hiring|employ|"
            rf"work with|working with|accept|want) (?:any )?(?:{_GROUP})",
            r"no ?(?:one|body) (?:over|older than) (?:\d\d)|(?:under|below) \d\d only|"
            r"no (?:old|disabled|gay|black|white|asian|muslim|jewish|indian|foreign|fat|ugly|trans|"
            r"pregnant) (?:people|person|candidates|applicants|women|men|staff|workers|boss|folks)",
            r"(?:white|master|aryan) (?:power|supremac(?:y|ist)s?)|ethnic cleansing|racially pure",
            rf"(?:free of|run by anyone but|away from|avoid) {_GROUP}",
            r"(?:prefer|preferably|must be|has to be) (?:a )?(?:white|male|female|christian|"
            r"straight|"
            r"caucasian|young and pretty|unmarried)(?: (?:only|please|staff|boss|man|woman|"
            r"candidate))",
        ),
        "discrimination",
    ),
    (
        _any(
            r"(?:fuck|f\*+k|fck|screw) (?:you|u|off|him|her|them|this (?:site|app|company)|"
            r"(?:all )?(?:the |these |those |your |every )?(?:\w+ )?"
            r"(?:recruiters?|hr|employers?|managers?|bosses|linkedin|boss|people|bot))",
            rf"{_AIMED} (?:\w+ ){{0,5}}{_INSULT}",
            rf"(?:stupid|dumb|lazy|ugly|fat|worthless|useless|pathetic|fucking|dirty|filthy|"
            rf"ignorant) (?:\w+ )?{_INSULT}",
            r"pieces? of (?:shit|crap|garbage|trash|filth)|shut (?:the \w+ )?up (?:you|u)?|"
            r"go to hell|suck my|kiss my ass|eat shit|stfu|drop dead|son of a bitch|"
            r"(?:you|u) (?:all )?suck|(?:you|u)(?: are|'re|r)? (?:so |all )?(?:stupid|dumb|"
            r"worthless|"
            r"useless|pathetic|disgusting|ugly)|(?:bitch(?:es)?|cunts?|motherfuckers?|dickheads?|"
            r"wankers?|assholes?)",
        ),
        "offensive_language",
    ),
)  # fmt: skip
# Let through where a benign word stands beside.
_GUARDED: tuple[tuple[re.Pattern[str], Category], ...] = (
    (_any(r"suicid(?:e|al)|self[- ]harm(?:ing)?|anorexia tips|pro[- ]ana"), "self_harm"),
    (
        _any(
            r"(?:drugs?|cocaine|heroin|meth|crack|fentanyl|narcotics?|weed) (?:runners?|mules?|"
            r"dealers?|dealing|smuggl\w+|traffick\w+|couriers?|lords?|cartels?|plug)",
            r"(?:sell(?:ing)?|smuggl(?:e|ing)|mov(?:e|ing)|push(?:ing)?|deal(?:ing)?|"
            r"deliver(?:ing)?|"
            r"transport(?:ing)?|cook(?:ing)?|mak(?:e|ing)) (?:illegal )?(?:drugs|cocaine|coke|"
            r"heroin|"
            r"meth|crack|fentanyl|weed illegally|lsd|ecstasy|steroids)",
            r"smuggl(?:e|ers?|ing)|traffick(?:ers?|ing)|launder(?:ing)? (?:\w+ )?(?:money|cash)|"
            r"money (?:launder(?:ing|er)s?|mules?)|drug cartels?|mafia|gang member",
            r"phishing|ransomware|malware|botnets?|ddos|keyloggers?|carding|skimming devices?|"
            r"credit card fraud|identity theft|insider trading|ponzi(?: scheme)?|pyramid schemes?",
            r"hack(?:ing)? (?:into|my|his|her|their|someone|somebody|an?|the|instagram|facebook|"
            r"gmail|bank)(?: \w+)?|hackers? (?:to|for hire)",
            r"(?:steal(?:ing)?|rob(?:bing)?|scam(?:ming)?|defraud(?:ing)?|swindl(?:e|ing)|con|"
            r"blackmail(?:ing)?|extort(?:ing)?|kidnap(?:ping)?|stalk(?:ing)?|spy(?:ing)? on|"
            r"trick(?:ing)?|"
            r"dox(?:x)?(?:ing)?|groom(?:ing)? (?=kids|child|minors|teen)) (?:from )?(?:\w+ ){0,2}"
            r"(?:people|cars?|credit cards?|data|identit\w+|money|banks?|stores?|elderly|seniors|"
            r"grand\w+|customers|clients|wife|husband|girlfriend|ex|employees|kids|children|minors|"
            r"teens?|passwords?|old|someone|trade secrets|women|girls|investors|copper|packages|"
            r"atms?)",
            r"(?:fake|forg(?:e|ed|ing)|counterfeit(?:ing)?|buy a) (?:\w+ )?(?:degrees?|diplomas?|"
            r"ids?|"
            r"passports?|pay ?stubs?|references?|reviews?|certificates?|documents?|money|visas?|"
            r"invoices?|prescriptions?|licen[cs]es?|currency|bills|urine|doctor'?s notes?)",
            r"(?:sell|buy|traffic|run) (?:illegal )?(?:guns|weapons|organs|kidneys?|firearms) "
            r"(?:illegally|without|on the)|sell (?:my|a|your) kidney|illegal (?:guns|weapons|arms)",
            r"(?:make|build|making|building) (?:a )?(?:pipe )?bombs?|bomb[- ]making|nerve agent|"
            r"bioweapons?|explosives? at home",
            r"child porn\w*|underage|sex with|prostitut(?:es?|ion)|escort girls?|call girls?|pimp|"
            r"sugar (?:daddy|baby)|brothel|nudes|onlyfans of",
            r"bribe(?:s|ry)? (?:an?|the|officials?|officer)|evade tax(?:es)?|tax evasion scheme|"
            r"under the table without tax|(?:cheat|pass|beat) (?:on )?(?:a |the |my )?drug test|"
            r"illegal (?:job|work|gambling|streaming|activities)|dark ?web (?:market|vendor|"
            r"seller)",
        ),
        "other_harm",
    ),
)  # fmt: skip


def category(folded: str) -> Category | None:
    """The rule a query breaks, if it breaks one."""
    text = " ".join(folded.replace("’", "'").split())
    for pattern, found in _PLAIN:
        match = pattern.search(text)
        if match and not _is_benign(text, found):
            return found
    benign = _BENIGN.search(text)
    for pattern, found in _GUARDED:
        if not benign and pattern.search(text):
            return found
    return None


def _is_benign(text: str, found: Category) -> bool:
    if found == "discrimination":
        return bool(_INCLUSIVE.search(text))
    if found == "violence":
        return bool(_MEDIA.search(text)) and "boss" not in text
    return False
