"""The words and signs of mathematical notation."""

from __future__ import annotations


def _names(text: str, before: str = "") -> frozenset[str]:
    return frozenset(before + name for name in text.split())


#: Signs, and what LaTeX has for them.
UNICODE = {
    "−": "-", "–": "-", "﹣": "-", "－": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ",
    "÷": r"\div ", "√": r"\surd ", "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ",
    "⩽": r"\le ", "⩾": r"\ge ", "∈": r"\in ", "∪": r"\cup ", "∩": r"\cap ", "∅": r"\emptyset ", "±": r"\pm ",
    "∓": r"\mp ", "°": r"^{\circ}", "′": "'", "’": "'", "∨": r"\lor ", "∧": r"\land ", "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}", "⌊": r"\lfloor ",
    "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "\u00a0": " ", "\u2009": r"\,", "\u202f": r"\,",
}  # fmt: skip
GREEK = _names(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar"
)
GREEK_LETTERS = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "ρ": "rho", "σ": "sigma", "τ": "tau",
    "υ": "upsilon", "φ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta",
    "Λ": "Lambda", "Ξ": "Xi", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip

#: Several names of one sign.
ALIASES = {
    r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\dbinom": r"\binom", r"\tbinom": r"\binom",
    r"\leq": r"\le", r"\leqslant": r"\le", r"\geq": r"\ge", r"\geqslant": r"\ge", r"\neq": r"\ne", r"\lt": "<",
    r"\gt": ">", "<=": r"\le", ">=": r"\ge", "!=": r"\ne", r"\times": "*", r"\cdot": "*", r"\ast": "*", r"\div": "/",
    r"\lbrace": r"\{", r"\rbrace": r"\}", r"\lbrack": "[", r"\rbrack": "]", r"\lvert": "|", r"\rvert": "|",
    r"\vert": "|", r"\%": "%", r"\$": "$", r"\varnothing": r"\emptyset", r"\backslash": r"\setminus",
    r"\lor": "or", r"\vee": "or", r"\land": "and", r"\wedge": "and", r"\prime": "'",
    "**": "^", r"\R": r"\mathbb R", r"\Z": r"\mathbb Z", r"\N": r"\mathbb N", r"\Q": r"\mathbb Q", r"\C": r"\mathbb C",
}  # fmt: skip
SILENT = _names(
    "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle textstyle limits nolimits "
    "quad qquad",
    "\\",
)
FONTS = _names("mathbf mathit mathsf mathtt mathcal boldsymbol bm pmb", "\\")
TEXTS = _names("text textrm textbf textit textsf texttt textnormal mathrm mbox hbox operatorname", "\\")
#: Marks over letters.
ACCENTS = _names("dot ddot vec hat bar tilde overline overrightarrow widehat", "\\")
#: Names of functions, also where they are written without a backslash.
FUNCTIONS = _names("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp max min gcd lcm")
#: Words between values.
SEPARATORS = _names("and or")
#: Short words that are no products of letters.
WORDS = _names("yes no dne all odd any one two six ten")
#: Units that an answer may have where its key has none; with `s` at the end, too.
UNITS = _names(
    "mm cm dm m km nm pm um inch inches in foot feet ft yard yd mile mi mg g gram kg kilogram tonne ton lb pound ounce "
    "oz s sec second min minute h hr hour day week month year ms ns ml l liter litre gallon j joule kj ev kev mev gev "
    "erg w watt kw mw n newton pa pascal kpa atm bar k kelvin hz hertz khz mhz ghz c coulomb v volt a ampere amp ohm t "
    "tesla mol mole rad radian degree deg meter metre centimeter centimetre millimeter kilometer kilometre dollar usd "
    "cent euro eur rupee yen unit square cubic sq cu per mph kmh au pc kpc mpc ly yr angstrom dyne gauss percent"
)
#: Things that are often counted, which are units likewise.
COUNTED = _names(
    "apple arrangement ball balloon bag bead bird block boat book bottle box boxes boy bus buses cake candy car card "
    "cat chair chicken child children choice class classes coin color cookie cow cup customer dog edge egg face "
    "family fish flower friend game girl guest house integer item kid letter marble men man mark member number orange "
    "outcome page pair pen pencil people permutation person piece player point possibility question row seat sheep "
    "shirt side slice solution sticker student subset table teacher team ticket tile time toy tree triangle value "
    "vertex vertices vote way woman women word worker"
)
CURRENCIES = frozenset("$€£¥₹")
#: Units that have several names, with one for each.
UNIT_NAMES = {
    "$": "dollar", "usd": "dollar", "€": "euro", "eur": "euro", "¥": "yen", "₹": "rupee", "°": "degree",
    "deg": "degree", "percent": "%", "inches": "inch", "feet": "foot",
}  # fmt: skip
