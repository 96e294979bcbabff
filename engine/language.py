"""The language of an answer, derived from the schemas: canonical text, tokens, grammar.

An answer is one call a line, in the order of `schemas.tools.CALLS`, each line the
contract's own JSON. In: the tagged union. Out, all pure:

- `write(calls)`: the canonical text, as training and examples have it. Text values
  begin with a space (" Houston" is one token, "Houston" three), if there is room for it;
  decoding trims it.
- `added_tokens()`: what a tuned model's tokenizer gets. A call without a free value is
  one token with its newline; of the others each fixed stretch is one.
- `grammar(...)`: EBNF for xgrammar. What it accepts decodes as a `Call`.
"""

import json
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import product

import msgspec
from msgspec import inspect

from schemas.tools import (
    CALLS,
    Call,
    DatePosted,
    EasyApply,
    Industry,
    InNetwork,
    NumApplicants,
    Plan,
    Policy,
    Rewrite,
    Salary,
    Suggest,
    Tool,
    encode_call,
    tool_name,
)

ONCE = {Rewrite, Salary, DatePosted, NumApplicants, EasyApply, InNetwork, Suggest, Policy}
MOST = 6
"""How many calls of one tool an answer may hold, those of `ONCE` aside."""

_ALONE = {Plan, Rewrite, Suggest, Policy}
_USUAL_CURRENCIES = set(
    "USD EUR GBP INR CAD AUD NZD SGD HKD AED SAR QAR ZAR NGN KES CHF SEK NOK DKK PLN JPY BRL MXN"
    " PHP".split()
)


class Field(msgspec.Struct, frozen=True):
    """One argument: the fixed text before it, and what may be written there."""

    before: str
    choices: tuple[str, ...] = ()
    """JSON of every value, if they can be listed; `null` is one where allowed."""
    free: str = ""
    """`text`, `long_text`, `integer`, `amount` or `list`, where they cannot."""
    limit: int = 0
    """Characters of a text."""


class Form(msgspec.Struct, frozen=True):
    """How a call of one tool is written: its fields, then `after`."""

    tool: type[Tool]
    fields: tuple[Field, ...]
    after: str

    @property
    def listable(self) -> bool:
        return not any(field.free for field in self.fields)

    def whole(self) -> Iterator[str]:
        """Every line of a call without a free value."""
        for values in product(*(field.choices for field in self.fields)):
            written = "".join(f.before + v for f, v in zip(self.fields, values, strict=True))
            yield written + self.after


def _field(before: str, kind: inspect.Type) -> Field:
    options = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    choices: list[str] = []
    free, most = "", 0
    for option in options:
        match option:
            case inspect.Metadata(type=inner):
                return _field(before, inner)
            case inspect.NoneType():
                choices.append("null")
            case inspect.LiteralType(values=values):
                choices += [json.dumps(v) for v in values]
            case inspect.EnumType(cls=cls):
                choices += [json.dumps(v.value) for v in cls]
            case inspect.VarTupleType(item_type=item):
                choices, free = list(_field("", item).choices), "list"
            case inspect.StrType(max_length=limit):
                most = limit or 0
                free = "text" if 0 < most <= 120 else "long_text"
            case inspect.FloatType():
                free = "amount"
            case inspect.IntType():
                free = free or "integer"
            case _:
                raise TypeError(f"no way to write {option}")
    return Field(before, tuple(choices), free, most)


@cache
def form(tool: type[Tool]) -> Form:
    """The form of a tool's calls, read off its struct."""
    info = inspect.type_info(tool)
    assert isinstance(info, inspect.StructType)
    fields: list[Field] = []
    before = '{"tool":' + json.dumps(tool_name(tool))
    for item in info.fields:
        field = _field(f'{before},"{item.encode_name}":', item.type)
        before = ""
        if len(field.choices) == 1 and not field.free:
            before = field.before + field.choices[0]
        else:
            fields.append(field)
    return Form(tool, tuple(fields), before + "}\n")


@cache
def added_tokens() -> tuple[str, ...]:
    """Whole calls first, then the fixed stretches of the others; no token twice."""
    tokens: dict[str, None] = {}
    for shape in map(form, CALLS):
        if shape.listable:
            tokens.update(dict.fromkeys(shape.whole()))
    for shape in map(form, CALLS):
        if not shape.listable:
            tokens.update(dict.fromkeys(_stretches(shape)))
    tokens["000"] = None
    return tuple(tokens)


def _stretches(shape: Form) -> Iterator[str]:
    closed = shape.after
    for place, field in enumerate(shape.fields):
        last = place == len(shape.fields) - 1
        if field.free == "list":
            yield f"{field.before}["
            yield from field.choices
            closed = "]" + shape.after
        elif field.free:
            quote = '"' if "text" in field.free else ""
            yield field.before + quote
            yield from (field.before + choice for choice in field.choices)
            closed = quote + shape.after
        else:
            for choice in field.choices:
                if not _rare(choice):
                    yield field.before + choice + (shape.after if last else "")
            closed = ""
    if closed:
        yield closed


def _rare(choice: str) -> bool:
    code = choice.strip('"')
    return len(code) == 3 and code.isupper() and code not in _USUAL_CURRENCIES


def write(calls: Iterable[Call]) -> str:
    """The canonical text of an answer, ended by a newline."""
    return "".join(_write_one(call) for call in calls)


def _write_one(call: Call) -> str:
    line = encode_call(call).decode() + "\n"
    for field in form(type(call)).fields[:1]:
        if field.limit and len(getattr(call, call.__struct_fields__[0])) < field.limit:
            head = field.before + '"'
            return head + " " + line[len(head) :]
    return line


PLAN_SELF_REFERENCE = write([Plan("self_reference")])


@cache
def grammar(*, plan: bool = True, rewrite: bool = False) -> str:
    """EBNF of an answer; what follows a self-reference plan is a request of its own.

    With `plan`: a whole answer, or the self-reference plan alone. Without: the rest of
    such an answer, with a rewrite first if `rewrite` (a profile was found).
    """
    rules = dict(_TERMINALS)
    for shape in map(form, CALLS):
        rules[_name(shape.tool)] = _rule(shape)
    tags = [tool for tool in CALLS if tool not in _ALONE]
    at = tags.index(Industry)
    rules["before"] = _sequence(tags[:at])
    rules["after"] = _sequence(tags[at + 1 :])
    rules["tags"] = f"before ({_name(Industry)}{{1,{MOST}}} after {_name(Suggest)}? | after)"
    if plan:
        tails = {"criteria": "tags", "trust_violation": _name(Policy)}
        rules["root"] = " | ".join(
            f"{_quote(line)} {tails.get(intent, '')}".strip()
            for intent, line in zip(
                (c.strip('"') for c in form(Plan).fields[0].choices),
                form(Plan).whole(),
                strict=True,
            )
        )
    else:
        rules["root"] = f"{_name(Rewrite)}? tags" if rewrite else "tags"
    return "\n".join(f"{name} ::= {body}" for name, body in rules.items()) + "\n"


@cache
def continuation(last: type[Tool], *, industry: bool = False, denied: bool = False) -> str:
    """EBNF of what may follow a call of `last` in an answer.

    `industry` if one was called, `denied` if the plan was a trust violation.
    """
    rules = dict(_TERMINALS)
    for shape in map(form, CALLS):
        rules[_name(shape.tool)] = _rule(shape)
    tags = [tool for tool in CALLS if tool not in _ALONE]
    at = tags.index(last) + (last in ONCE) if last in tags else 0
    before = [tool for tool in tags[at:] if CALLS.index(tool) < CALLS.index(Industry)]
    after = [tool for tool in tags[at:] if CALLS.index(tool) > CALLS.index(Industry)]
    more = f"{_sequence(after)} {_name(Suggest)}?".strip()
    if denied:
        rules["root"] = _name(Policy)
    elif industry and last is not Industry:
        rules["root"] = more
    elif CALLS.index(last) > CALLS.index(Industry):
        rules["root"] = _sequence(after) or '""'
    else:
        least = 0 if industry else 1
        tail = f"{_name(Industry)}{{{least},{MOST}}} {more}"
        rules["root"] = f"{_sequence(before)} ({tail} | {_sequence(after)})".strip()
    return "\n".join(f"{name} ::= {body}" for name, body in rules.items()) + "\n"


# What trimming would take off the front; a value of nothing else is refused as blank.
_SPACES = r" \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"


def _text(most: int, escapes: int = 3) -> str:
    """A string of at most `most` characters after the first, `escapes` of them escaped.

    Spelled out by the number of escapes: a bounded repetition of "a character or an escape"
    says the same, but xgrammar then looks at every token of the vocabulary (15 ms a step).
    """
    several = []
    for count in range(escapes + 1):
        plain = f"{_CHAR}{{0,{(most - count) // (count + 1)}}}"
        several.append(f" {_ESCAPE} ".join([plain] * (count + 1)))
    return f'"\\"" " "? ({_VISIBLE} | {_ESCAPE}) ({" | ".join(several)}) "\\""'


_CHAR = r'[^"\\\x00-\x1f\x7f]'
_VISIBLE = rf'[^"\\\x00-\x1f\x7f{_SPACES}]'
_ESCAPE = r'"\\" ["\\/]'
_TERMINALS = {
    "text": _text(118),
    "long-text": _text(400),
    "integer": '"0" | [1-9] [0-9]{0,4}',
    "amount": '"0" | [1-9] [0-9]{0,8} ("." [0-9]{1,2})?',
}


def _rule(shape: Form) -> str:
    if shape.listable:
        return " | ".join(_quote(line) for line in shape.whole())
    if shape.tool is Salary:  # at least one bound: the one rule that no field alone can say
        low, high, *rest = shape.fields
        tail = " ".join(f"{_quote(f.before)} {_value(f)}" for f in rest)
        both = f'amount {_quote(high.before)} (amount | "null")'
        bounds = f'({both} | "null" {_quote(high.before)} amount)'
        return f"{_quote(low.before)} {bounds} {tail} {_quote(shape.after)}"
    body = " ".join(f"{_quote(field.before)} {_value(field)}" for field in shape.fields)
    return f"{body} {_quote(shape.after)}"


def _value(field: Field) -> str:
    options = [_quote(choice) for choice in field.choices]
    if field.free == "list":
        item = f"({' | '.join(options)})"
        return f'"[" {item} ("," {item}){{0,2}} "]"'
    if field.free:
        options.insert(0, field.free.replace("_", "-"))
    return f"({' | '.join(options)})"


def _sequence(tools: list[type[Tool]]) -> str:
    return " ".join(
        f"{_name(tool)}?" if tool in ONCE else f"{_name(tool)}{{0,{MOST}}}" for tool in tools
    )


def _name(tool: type[Tool]) -> str:
    return "call-" + tool_name(tool).replace("_", "-")


def _quote(text: str) -> str:
    return json.dumps(text)
