r"""Parses tokens of notation into a formula, as a whole or not at all.

    several values   5, 7    5 \lor 7    \pm 5        sets, points, intervals   \{1, 2\}  (1, 2)  [0, 1)  A \cup B
    relations        y = 2x + 1    0 < x \le 1        matrices, quantities      5 \text{ cm}   \$5   50\%   30^\circ
    numbers          34  34.  3.4 \times 10^{1}  68/2  \frac{1}{2}  2\frac{2}{3}  -3e5  0.1\overline{6}

A number is a node of its own only in the forms of the last line; `17 \cdot 2` is a product.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from mentor_kit_data.formulas.notation import NotMathematics, Token
from mentor_kit_data.formulas.numerals import Numerals, is_plain, mixed, negative, power_of_ten, ratio, scientific
from mentor_kit_data.formulas.tree import Formula
from mentor_kit_data.formulas.vocabulary import ACCENTS, CURRENCIES, FUNCTIONS, GREEK

#: Formulas within formulas; no key is as deep.
_DEEPEST = 50

_RELATIONS = frozenset(["=", "<", ">", r"\le", r"\ge", r"\ne", r"\in"])
_SETS = {r"\cup": "union", r"\cap": "intersection", r"\setminus": "difference"}
_CLOSING = {"(": (")", "]"), "[": ("]", ")"), r"\{": (r"\}",), r"\langle": (r"\rangle",)}
#: Kinds of formulas that can be named, beside letters: `f(x)`, `AB`, `(x, y)`, `e`.
_LABEL = re.compile(
    rf"(?:[A-Za-z]|\\(?:{'|'.join(sorted(GREEK - {'pi'}))}))"
    r"(?:_(?:[A-Za-z0-9]+|\{[A-Za-z0-9]+\}))?'*\([A-Za-z0-9,]*\)|[A-Z]{2,4}"
    r"|\([A-Za-z](?:,[A-Za-z])+\)|[ei]"
)
_MATRICES = ("pmatrix", "bmatrix", "matrix", "Bmatrix", "smallmatrix")


def parse(tokens: Sequence[Token]) -> Formula:
    """The formula that the tokens are, all of them.

    Raises:
        NotMathematics: they are none.
    """
    parser = _Parser(tokens)
    formula = parser.listing()
    parser.expect_end()
    return formula


class _Parser(Numerals):
    def __init__(self, tokens: Sequence[Token]) -> None:
        super().__init__(tokens)
        self._depth = 0
        self._bars = 0

    # several values, relations, sets

    def listing(self) -> Formula:
        """One statement, or several with separators between them."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise NotMathematics("too deep")
        items, joints = [self._statement()], set()
        while self._next() in (",", ";") or self._kind() == "separator":
            joints.add(self._take())
            if joints & {",", ";"} and self._kind() == "separator":
                joints.add(self._take())
            items.append(self._statement())
        self._depth -= 1
        return items[0] if len(items) == 1 else Formula("list", tuple(items), "or" if joints == {"or"} else ",")

    def _statement(self) -> Formula:
        start = self._at
        parts, signs = [self._quantity()], []
        ends = [self._at]
        while self._next() in _RELATIONS:
            signs.append(self._take())
            parts.append(self._quantity())
            ends.append(self._at)
        if not signs:
            return parts[0]
        left = "".join(token.text for token in self._tokens[start : ends[0]])
        named = parts[0].kind == "name" or _LABEL.fullmatch(left) is not None
        several = left.startswith("(") and parts[1].kind not in ("sequence", "set", "list", "union")
        if len(signs) == 1 and signs[0] in ("=", r"\in") and named and not several:
            return Formula("labelled", (parts[1],), left + ("" if signs[0] == "=" else r"\in"))
        return Formula("relation", tuple(parts), " ".join(signs))

    def _quantity(self) -> Formula:
        """A value with a currency before it, or a unit behind it."""
        sign = self._take() if self._next() in ("-", "+") and self._currency(1) else ""
        currency = self._take() if self._currency(0) else ""
        if currency and sign and self._next() in ("-", "+"):
            raise NotMathematics("two signs")
        value = self._sets()
        if sign == "-":
            value = negative(value)
        unit = currency + self._unit()
        return Formula("quantity", (value,), unit) if unit else value

    def _currency(self, ahead: int) -> bool:
        token = self._token(ahead)
        return token is not None and token.text in CURRENCIES

    def _unit(self) -> str:
        r"""A unit such as `%`, `cm`, `m/s^{2}`, `^\circ` with its letter; empty where there is none."""
        if self._currency(0) or self._next() == "%":
            return self._take()
        found = ""
        while self._kind() == "text" or (found and self._next() in ("*", "/") and self._kind(1) == "text"):
            found += (" " if found[-1:].isalpha() else "") + self._symbol(self._take())
            if self._took("^"):
                found += f"^{self._script_text()}"
        return found

    def _symbol(self, name: str) -> str:
        return name if len(name) <= 3 else name.casefold().removesuffix("s")

    def _sets(self) -> Formula:
        left = self._sum()
        sign = self._next()
        while sign and self._next() == sign and sign in _SETS:
            self._take()
            right = self._sum()
            merged = left.parts if left.kind == _SETS[sign] and sign != r"\setminus" else (left,)
            left = Formula(_SETS[sign], (*merged, right))
        return left

    # sums, products, powers

    def _sum(self) -> Formula:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise NotMathematics("too deep")
        left = self._signed()
        while self._next() in ("+", "-", r"\pm", r"\mp"):
            sign = self._take()
            right = self._product()
            if sign in ("+", "-"):
                left = Formula("+", (left, right if sign == "+" else Formula("negative", (right,))))
            else:
                left = Formula("±", (left, right), sign)
        self._depth -= 1
        return left

    def _signed(self) -> Formula:
        """A product, with at most one sign before it."""
        if self._took("+"):
            return self._product()
        if self._took("-"):
            return negative(self._product())
        if self._next() in (r"\pm", r"\mp"):
            sign = self._take()
            return Formula("±", (Formula("number", name="plain"), self._product()), sign)
        return self._product()

    def _product(self) -> Formula:
        left = self._power()
        while True:
            if self._took("*"):
                right = self._factor()
                left = scientific(left, right) or Formula("*", (left, right))
            elif self._took("/"):
                right = self._factor()
                left = ratio(left, right)
                if self._starts():
                    raise NotMathematics("what is below the stroke is not said")
            elif self._starts():
                if self._kind() == "number":
                    raise NotMathematics("a number behind a factor")
                whole = left if self._next() == r"\frac" and self._kind(-1) == "number" else None
                right = self._power()
                left = (mixed(whole, right) if whole else None) or Formula("*", (left, right))
            else:
                return left

    def _factor(self) -> Formula:
        """A factor behind a sign of multiplication or division, which may have a minus of its own."""
        return negative(self._power()) if self._took("-") else self._power()

    def _starts(self) -> bool:
        """Whether the next token begins a factor."""
        text, kind = self._next(), self._kind()
        if text == "|":
            return not self._bars
        opens = text in ("(", "[", "{", r"\{") or (kind == "command" and text[1:] in _BEGINNINGS)
        return opens or kind in ("number", "letter") or text.startswith((r"\begin", r"\mathbb"))

    def _power(self) -> Formula:
        base = self._atom()
        while True:
            if self._took("!"):
                base = Formula("call", (base,), "factorial")
            elif self._next() != "^":
                return base
            elif base.kind == "^":
                raise NotMathematics("two exponents")
            else:
                self._take()
                base = self._raised(base)

    def _raised(self, base: Formula) -> Formula:
        if self._took(r"\circ") or self._braced(r"\circ"):
            letter = self._take() if self._kind() == "text" and self._token() is not None else ""
            return Formula("quantity", (base,), f"°{letter}")
        exponent = self._script()
        if is_plain(base) and base.value == 10 and is_plain(exponent):
            return power_of_ten(exponent) or Formula("^", (base, exponent))
        return Formula("^", (base, exponent))

    def _braced(self, text: str) -> bool:
        """Takes a single token in braces, if it is this one."""
        following = [token.text if token else "" for token in (self._token(ahead) for ahead in range(3))]
        if following != ["{", text, "}"]:
            return False
        self._at += 3
        return True

    def _script(self) -> Formula:
        """An exponent, or the base of a logarithm: braces, or one token, which may have a sign."""
        if self._took("{"):
            return self._until("}")
        sign = self._took("-")
        found = self._atom()
        return negative(found) if sign else found

    def _until(self, *closing: str) -> Formula:
        found = self._sum()
        self._must(*closing)
        return found

    # what has no parts, or brackets around them

    def _atom(self) -> Formula:
        kind, text = self._kind(), self._next()
        if kind == "number":
            return self._number()
        if kind == "letter":
            return self._letter()
        if text == "|":
            return self._absolute()
        if text in _CLOSING:
            return self._brackets()
        if self._took("{"):
            inner = self.listing()
            if self._took(r"\choose"):
                inner = Formula("call", (inner, self._sum()), "binom")
            self._must("}")
            return inner
        if kind == "command":
            return self._command(self._take())
        raise NotMathematics(f"{text} cannot stand here")

    def _letter(self) -> Formula:
        name = self._take()
        subscript = f"_{self._script_text()}" if self._took("_") else ""
        while self._took("'"):
            subscript += "'"
        constant = {r"\pi": "pi", "e": "e", "i": "i"}.get(name) if not subscript else None
        return Formula("constant", name=constant) if constant else Formula("name", name=name + subscript)

    def _absolute(self) -> Formula:
        self._must("|")
        self._bars += 1
        inner = self._until("|")
        self._bars -= 1
        return Formula("call", (inner,), "abs")

    def _brackets(self) -> Formula:
        opening = self._take()
        if opening == r"\{" and self._took(r"\}"):
            return Formula("set")
        bars, self._bars = self._bars, 0
        inner = self.listing()
        self._bars = bars
        closing = self._next()
        self._must(*_CLOSING[opening])
        parts = inner.parts if inner.kind == "list" else (inner,)
        if opening == r"\{":
            return Formula("set", parts)
        if len(parts) > 1 or opening + closing != "()":
            return Formula("sequence", parts, opening + closing)
        return inner

    def _command(self, command: str) -> Formula:
        name = command.removeprefix("\\")
        if name == "frac":
            return ratio(self._argument(), self._argument())
        if name == "binom":
            return Formula("call", (self._argument(), self._argument()), "binom")
        if name in ("sqrt", "surd"):
            return self._root(name)
        if name in ("lfloor", "lceil"):
            return Formula("call", (self._until(rf"\r{name[1:]}"),), name[1:])
        if name in FUNCTIONS:
            return self._function(name)
        if name in ("infty", "emptyset") or name.startswith("mathbb "):
            return Formula("constant", name=name) if name != "emptyset" else Formula("set")
        if command in ACCENTS:
            return self._accented(name)
        if name in ("angle", "triangle") and self._kind() == "letter":
            while self._kind() == "letter":
                name += self._take()
            return Formula("name", name=name)
        if name.startswith("begin{"):
            return self._matrix(name[6:-1])
        raise NotMathematics(f"{command} is not known")

    def _accented(self, accent: str) -> Formula:
        r"""`\vec{v}`, `\overline{AB}`, with a subscript or without."""
        letters = self._script_text()
        if not re.fullmatch(r"[A-Za-z]{1,3}|\\[A-Za-z]+", letters):
            raise NotMathematics(f"{accent} over something else than letters")
        subscript = f"_{self._script_text()}" if self._took("_") else ""
        return Formula("name", name=f"{accent} {letters}{subscript}")

    def _argument(self) -> Formula:
        r"""What follows `\frac` and its like: braces, or one digit or letter."""
        if self._took("{"):
            return self._until("}")
        token = self._token()
        if token is None or token.kind not in ("number", "letter", "command"):
            raise NotMathematics("an argument is missing")
        if token.kind != "number":
            return self._atom()
        if not token.text.isdigit():
            raise NotMathematics("braces are missing")
        rest = token.text[1:]
        if rest:  # \frac12: one digit each
            self._tokens = [
                *self._tokens[: self._at],
                replace(token, text=token.text[0]),
                replace(token, text=rest),
                *self._tokens[self._at + 1 :],
            ]
        self._at += 1
        return Formula("number", name="plain", value=Fraction(token.text[0]))

    def _root(self, name: str) -> Formula:
        degree = Formula("number", name="plain", value=Fraction(2))
        if name == "sqrt" and self._took("["):
            degree = self._until("]")
        token = self._token()
        if token is not None and token.kind == "number" and name == "sqrt" and len(token.text) > 1:
            raise NotMathematics("braces are missing")
        inner = self._until("}") if self._took("{") else self._atom()
        return Formula("call", (inner, degree), "root")

    def _function(self, name: str) -> Formula:
        base = self._script() if name == "log" and self._took("_") else None
        power = self._script() if self._took("^") else None
        arguments = self._arguments()
        if base is not None:
            found = Formula("call", (*arguments, base), "log_")
        elif name in ("max", "min", "gcd", "lcm") or len(arguments) == 1:
            found = Formula("call", arguments, name)
        else:
            raise NotMathematics(f"{name} of several values")
        if power is None:
            return found
        if power == Formula("number", name="plain", value=Fraction(-1)):
            return Formula("call", arguments, f"arc{name}")
        return Formula("^", (found, power))

    def _arguments(self) -> tuple[Formula, ...]:
        """A function's: what is in brackets, else the factors that follow up to the next function."""
        if self._took("("):
            inner = self.listing()
            self._must(")")
            return inner.parts if inner.kind == "list" else (inner,)
        found = self._power()
        while self._starts() and self._next().removeprefix("\\") not in FUNCTIONS and self._next() != "(":
            found = Formula("*", (found, self._power()))
        return (found,)

    def _matrix(self, environment: str) -> Formula:
        if environment not in _MATRICES:
            raise NotMathematics(f"{environment} is not known")
        rows: list[list[Formula]] = [[]]
        while True:
            rows[-1].append(self._sum())
            if self._took("&"):
                continue
            if self._took("\\\\") and self._next() != rf"\end{{{environment}}}":
                rows.append([])
                continue
            self._must(rf"\end{{{environment}}}")
            break
        if len({len(row) for row in rows}) != 1:
            raise NotMathematics("rows of different lengths")
        return Formula("matrix", tuple(item for row in rows for item in row), f"{len(rows)}x{len(rows[0])}")


_BEGINNINGS = (
    FUNCTIONS | {accent[1:] for accent in ACCENTS} | {"frac", "binom", "sqrt", "surd", "lfloor", "lceil", "infty"}
)
