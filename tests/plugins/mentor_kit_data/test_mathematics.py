"""The check `math`: right forms, hedges around a key, twins in sympy, and what must not harm it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from math_forms import DIFFERENT, SAME
from mentor_kit_data.formulas.equality import same
from mentor_kit_data.formulas.evaluation import Evaluator
from mentor_kit_data.mathematics import MathChecker

EVALUATOR = Evaluator()


def right(answer: str, key: str) -> bool:
    return same(answer, key, EVALUATOR)


@pytest.fixture(scope="module")
def mathematics() -> Iterator[MathChecker]:
    made = MathChecker(seconds=20.0)
    yield made
    made.close()


@pytest.mark.parametrize(("answer", "key"), SAME)
def test_what_is_the_same(mathematics: MathChecker, answer: str, key: str) -> None:
    assert mathematics.check(answer, key)
    assert mathematics.check(key, key)
    assert "$" in answer.replace(r"\$", "") or mathematics.check(f" ${answer}$ ", key)


def test_there_are_enough_of_them() -> None:
    assert len(set(SAME)) >= 150


@pytest.mark.parametrize(("answer", "key"), DIFFERENT)
def test_what_is_not_the_same(mathematics: MathChecker, answer: str, key: str) -> None:
    assert not mathematics.check(answer, key)


JOINTS = [
    "=", "==", ":=", r"\to", r"\rightarrow", r"\Rightarrow", r"\implies", r"\iff", r"\leftarrow", "->", "=>", "|",
    r"\mid", r"\|", r"\approx", r"\simeq", r"\sim", r"\cong", r"\equiv", r"\propto", r"\ne", "!=", r"\not=", "<", ">",
    r"\le", r"\ge", "<=", ">=", r"\ll", r"\in", r"\notin", r"\ni", r"\subset", r"\supset", r"\cup", r"\cap",
    r"\setminus", r"\lor", r"\vee", "∨", r"\land", r"\wedge", r"\oplus", r"\pm", r"\mp", "±", "+", "-", "--", "−", "–",
    "—", "*", r"\cdot", r"\times", "^", "/", r"\div", "//", ":", "::", ";", ",", ", ", ",,", "?", "!", "@", "#", "~",
    "&", r"\&", r"\\", "\n", " ", r"\ ", r"\quad ", r"\hspace{1cm}", "...", "…", r"\ldots", r"\dots", r"\cdots", " or ",
    " and ", " xor ", " to ", " vs ", " not ", " but ", r"\text{ or }", r"\text{ and }", r"\text{ or maybe }",
    r"\text{, no: }", r"\text{ to }", r"\mathrm{or}", r"\textbf{or}", r"\choose ", r"\bmod ", r"\% of ", r"\circ ",
    r"\frac{1}{1}", r"\phantom{x}", r"\not ", r"\boxed ", "}{", "$ $", "\t", "\u200b", "\u2028", "\\", "%", " % ", "$",
    "€", "'", '"', "`",
]  # fmt: skip
AROUND = [
    r"I do not know @ {k}", "not {k}", r"\neg {k}", r"\lnot {k}", r"\text{not } {k}", r"\text{maybe } {k}", "about {k}",
    r"\approx {k}", r"\sim {k}", "~ {k}?", "{k}?", "{k}??", "?{k}", "{k} ?", "{k} (maybe)", r"{k} \text{ (maybe)}",
    r"{k} \text{ is wrong}", r"{k} \text{ or not}", r"{k} \text{ apples or so}", "{k} apples or so",
    r"{k} \text{ if } x = 1", r"\cancel{{w}} {k}", r"\cancel{{k}}", r"\sout{{k}}", r"\not {k}", r"\phantom{{w}} {k}",
    r"{w} \phantom {k}", r"\hphantom{{k}}", r"\overline{{k}}", r"\underline{{w}}{k}", r"\hat{{k}}",
    r"\color{{red}}{{k}}", r"\tag{{w}} {k}", r"\overset{{w}}{{k}}", r"\stackrel{{w}}{{k}}", r"\underbrace{{k}}_{{w}}",
    r"\boxed{{w}} \boxed{{k}}", r"\boxed{{k}} {w}", r"{w} \boxed{{k}}", r"\boxed{{{k}, {w}}}", "({w}, {k})",
    "({k}, {k})", "[{w}, {k}]", "[{k}, {k}]", r"\{{{w}, {k}\}}", r"\{{{k}, {k}\}}", "{{{w}, {k}}}",
    r"\langle {k} \rangle", "[{k}]", "|{k}|", r"\|{k}\|", "({k}", "{k})", "{{{k}", "{k}}}", r"\{{{k}", r"({w}) {k}",
    r"({k})({k})", "[{w}] {k}", "{k}!", "{k}'", "{k}_{{10}}", "{k}_2", "{k}^{{1}}", "{k}^1", "--{k}", "++{k}", "+-{k}",
    "-(-{k})", r"\lfloor {k} \rfloor", r"\lceil {k} \rceil", r"\sqrt{{({k})^2}}", r"\max({w}, {k})",
    r"\min({k}, 10^{{99}})", r"\gcd({k}, {k})", r"\log_{{10}} 10^{{{k}}}", r"\ln e^{{{k}}}", r"\exp(\ln({k}))",
    r"{k} + 0", "0 + {k}", "{k} - 0", r"1 \cdot {k}", r"{k} \cdot 1", "({k}) * 1", "2({k})/2",
    r"\frac{{2 \cdot {k}}}{{2}}", r"\frac{{{k} + {w}}}{{1}} - {w}", r"\sum_{{i=1}}^{{1}} {k}", r"\int_0^{{1}} {k} dx",
    r"\lim_{{x \to 0}} {k}", r"\prod {k}", "x + {k}", "2x = {k}", "x + 1 = {k}", "x = {w} = {k}", "x = y = {k}",
    "{w} = x = {k}", "{k} = {k}", "1 = 2 = 3 = {k}", "x = {w}, y = {k}", "x = {w} or x = {k}", "x > {w}", "x < {k}",
    r"x \ne {k}", r"x \approx {k}", r"x \to {k}", "x := {k}", r"\pi = {k}", "0 = {k}", "x^2 = {k}",
    r"\frac{{x}}{{1}} = {k}", r"x \in {k}", r"x \in \{{{w}, {k}\}}", r"x \in [{k}, {k}]", r"x \in [{w}, {k}]",
    r"\mathbb{{R}} \ni {k}", r"\pm {k}", r"\mp {k}", r"{k} \pm 0", "{k} i", "{k} x", "{k} e", r"{k} \pi", r"{k} \infty",
    "e{k}", "x{k}", "x_{{{k}}}", r"\begin{{pmatrix}} {k} \end{{pmatrix}}", "{k}, ...", "..., {k}", "{k}, ", ", {k}",
    "; {k}", "{k};", "{k}:", ": {k}", "= {k}", "{k} =", r"\le {k}", "{k} or", "or {k}", "and {k}", "{k} and", "{k}e",
    "{k}.{k}", "the last: {k}", "1) {w} 2) {k}", "A. {w} B. {k}", "not known, {k}", "{w} wait no {k}",
    "__import__('x') or {k}", "# {k}", r"\% {k}", r"{w} % {k}", r"{w} \\ {k}",
    r"\begin{{array}}{{c}} {w} \\ {k} \end{{array}}", r"\verb|{k}|", r"\input{{{k}}}",
]  # fmt: skip


def hedges(key: str, wrong: str) -> Iterator[str]:
    for joint, (left, after) in itertools.product(JOINTS, [(wrong, key), (key, wrong), (key, key)]):
        yield f"{left}{joint}{after}"
        yield f"{left} {joint} {after}"
    for form in AROUND:
        yield form.replace("{k}", key).replace("{w}", wrong).replace("{{", "{").replace("}}", "}")


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("34", "20"),
        ("-7", "3"),
        (r"\frac{7}{2}", r"\frac{2}{7}"),
        ("4.5e33", "4.5e32"),
        ("0.125", "8"),
        ("1{,}234", "4"),
    ],
)
def test_no_hedge_is_right(key: str, wrong: str) -> None:
    forms = [form for form in dict.fromkeys(hedges(key, wrong)) if form.strip() != key]
    assert len(forms) > 500
    assert [form for form in forms if right(form, key)] == []


def pairs(key: str, wrong: str) -> Iterator[str]:
    """A wrong thing and the right one, in either order and with every joint between them."""
    for joint, (left, after) in itertools.product(JOINTS, [(wrong, key), (key, wrong)]):
        yield f"{left}{joint}{after}"
        yield f"{left} {joint} {after}"


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        (r"\frac{\sqrt 2}{2}", r"\frac{\sqrt 3}{2}"),
        (r"2\pi", r"3\pi"),
        ("x^2+1", "x^2-1"),
        ("1, 2", "3, 4"),
        ("(1,2)", "(3,4)"),
        ("[0,1)", "[0,2)"),
        (r"\{1,2\}", r"\{3\}"),
        (r"x=4 \lor x=5", "x=6"),
        ("y=2x+1", "y=3x"),
        ("x>3", "x>4"),
        (r"(-\infty,0)\cup(1,\infty)", "(0,2)"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}3\\2\end{pmatrix}"),
        (r"\text{Evelyn}", "Briana"),
        (r"n \mid 12", r"n \mid 13"),
        (r"50\%", r"20\%"),
        (r"36^\circ", r"40^\circ"),
        (r"5 \text{ cm}", r"6 \text{ cm}"),
        ("A", "B"),
        ("2^{10}", "2^9"),
        ("5!", "4!"),
        ("x = 5", "x = 6"),
    ],
)
def test_no_pair_is_right_where_the_key_is_no_number(key: str, wrong: str) -> None:
    assert [form for form in pairs(key, wrong) if right(form, key)] == []


def test_an_answer_that_is_checked_where_only_words_fit() -> None:
    for key in (
        r"n \mid 12",
        "all primes $p$",
        r"p \equiv 1 \pmod 4",
        r"\text{no such } n",
        "f(x)=0 for every x, or f(x)=x",
    ):
        assert right(key, key)
        assert not any(right(answer, key) for answer in ("12", "4", "0", "x", "1", "n", ""))


NUMBERS = st.fractions(max_denominator=10**6).filter(lambda n: abs(n.numerator) < 10**12)


@given(NUMBERS, NUMBERS)
def test_fractions_are_compared_exactly(first: Fraction, second: Fraction) -> None:
    spelled = [
        f"{first.numerator}/{first.denominator}",
        rf"\frac{{{first.numerator}}}{{{first.denominator}}}",
        rf"\dfrac{{{-first.numerator}}}{{{-first.denominator}}}",
        f"${first}$",
        f"x = {first}",
    ]
    for one in spelled:
        assert right(one, str(first))
        assert right(one, str(second)) is (first == second)


@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**9), max_value=10**9),
    st.integers(-60, 60),
)
def test_powers_of_ten(value: object, exponent: int) -> None:
    exact = Fraction(str(value)) * Fraction(10) ** exponent
    near = exact * (1 + Fraction(1, 10**20)) if exact else Fraction(1, 10**60)
    for text in (f"{value:f}e{exponent}", rf"{value:f} \times 10^{{{exponent}}}", f"{value:f} * 10^{exponent}"):
        assert right(text, f"{exact.numerator}/{exact.denominator}")
        assert not right(text, f"{near.numerator}/{near.denominator}")


@given(st.integers(0, 10**15), st.sampled_from([",", "{,}", r"\,", r",\!", "\u202f"]))
def test_thousands(value: int, between: str) -> None:
    assert right(f"{value:,}".replace(",", between), str(value))


@given(st.integers(-999, 999), st.integers(1, 30), st.integers(2, 31))
def test_mixed_numbers(whole: int, above: int, below: int) -> None:
    sign = -1 if whole < 0 else 1
    exact = whole + sign * Fraction(above, below)
    key = f"{exact.numerator}/{exact.denominator}"
    if above < below and whole:
        assert right(rf"{whole}\frac{{{above}}}{{{below}}}", key)
        assert right(f"{whole} {above}/{below}", key)
    product = whole * Fraction(above, below)
    if product != exact:
        assert not right(rf"{whole}\frac{{{above}}}{{{below}}}", f"{product.numerator}/{product.denominator}")


def expressions() -> st.SearchStrategy[object]:
    sympy = pytest.importorskip("sympy")
    x, y = sympy.symbols("x y")
    leaves = st.sampled_from(
        [x, y, sympy.pi, sympy.sqrt(2), *(sympy.Integer(n) for n in (1, 2, 3, 7)), sympy.Rational(2, 3)]
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(inner, inner).map(lambda pair: pair[0] + pair[1]),
            st.tuples(inner, inner).map(lambda pair: pair[0] * pair[1]),
            st.tuples(inner, inner).map(lambda pair: pair[0] - pair[1]),
            st.tuples(inner, st.integers(2, 3)).map(lambda pair: pair[0] ** pair[1]),
            inner.map(sympy.sin),
            inner.map(sympy.cos),
        ),
        max_leaves=6,
    )


@given(st.data())
def test_expressions_against_sympy(data: st.DataObject) -> None:
    sympy = pytest.importorskip("sympy")
    first, second = data.draw(expressions()), data.draw(expressions())
    if first.free_symbols:
        assert right(sympy.latex(sympy.expand(first)), sympy.latex(first))
        assert right(sympy.latex(sympy.factor(first)), sympy.latex(first))
        assert not right(sympy.latex(first + sympy.Rational(1, 10**9)), sympy.latex(first))
        assert right(sympy.latex(second), sympy.latex(first)) is bool(
            sympy.expand(first - second) == 0 or first.equals(second)
        )


PIECES = [
    "34", "20", ".5", "3.", "1e5", "1e99999", "x", "y", "i", "e", r"\pi", r"\infty", "+", "-", "*", "/", "^", "_", "(",
    ")", "[", "]", "{", "}", r"\{", r"\}", ",", ";", "=", "<", r"\le", r"\in", r"\cup", r"\setminus", r"\mathbb{R}",
    r"\frac", r"\frac12", r"\sqrt", r"\sqrt[", r"\binom", r"\sin ", r"\log_", r"\max", r"\gcd", r"\pm", "!", "%", r"\%",
    "$", r"\$", "€", r"\text{cm}", r"\text{or}", r"\text{", " and ", " or ", "|", r"\left", r"\begin{pmatrix}",
    r"\end{pmatrix}", "&", r"\\", r"^\circ", "½", "²", "√", "'", r"\overline{3}", r"0.\overline{3}", r"\lfloor ",
    r"\rfloor ", r"\boxed{", r"\mathbf{", r"\to ", r"\mid ", ".", ":", "?", "@", r"\angle ", "AB", r"\langle ", r"\,",
    "{,}", r"\times 10^", "9^9", "٣", r"\x", "\\", " ",
]  # fmt: skip


KEYS = ["34", r"\frac{\sqrt 2}{2}", "x^2 + y", r"x=4 \lor x=5", "(1,2)"]


@given(
    st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=10),
    st.sampled_from(["34", r"\frac{x}{2}", r"x=4 \lor x=5", "(1,2)"]),
)
def test_nothing_raises_and_every_key_is_itself(pieces: list[str], key: str) -> None:
    text = "".join(pieces)
    assert isinstance(right(text, key), bool)
    assert isinstance(right(key, text), bool)


BOMBS = [
    "9**9**9**9", "9^{9^{9^{9^{9}}}} + 1/7", "9^{9^9}", "1e999999999", "1e-999999999", "10^{999999999}", "(" * 3000,
    "(" * 2000 + "34" + ")" * 2000, "1" * 100_000, "{" * 2000, r"\sqrt" * 800 + "2", "-" * 4000 + "34",
    "1" + "+1" * 2000, "x" * 4000, r"\frac12" * 580, "(99999!)!", r"\binom{99999}{50000}", "x^{x^{x^{x^x}}}",
    r"\sin(10^{99999})", "|" * 4000, r"\gcd(" + "x," * 900 + "x)", r"\boxed{" * 500 + "34" + "}" * 500, "(x+1)^{20000}",
    r"\tan" * 1000 + "x", "1," * 2000 + "1", "(2^{299999}+1/3^{180000})(1/7^{100000}+2^{200000})", "\x00", "\udc80",
    "__import__('os')._exit(1)", r"\input{/etc/passwd}",
]  # fmt: skip


def test_bombs_are_wrong_soon_off_the_main_thread_too(mathematics: MathChecker) -> None:
    found: list[tuple[str, str]] = []

    def play() -> None:
        for bomb, key in itertools.product(BOMBS, KEYS):
            if mathematics.check(bomb, key):
                found.append((bomb[:40], key))

    started = time.monotonic()
    thread = threading.Thread(target=play)
    thread.start()
    thread.join()
    assert found == []
    assert time.monotonic() - started < 120
    assert mathematics.check(r"2\sqrt{2}", r"\sqrt{8}")


def test_a_comparison_that_takes_too_long_ends_with_its_process() -> None:
    brief = MathChecker(seconds=0.5)
    slow = "+".join(rf"\sin(\sqrt{{x+{n}}})^{{{n}}}" for n in range(150))
    started = time.monotonic()
    assert not brief.check(slow, "x")
    assert brief.check(r"\sqrt{8}", r"2\sqrt{2}")
    assert time.monotonic() - started < 60
    brief.close()
