"""Weights in transformers' form, from those that mlx-lm made of them.

mlx-lm's `sanitize` renames, stacks, splits, transposes, shifts (Qwen3.5's norms) and scales (Falcon-H1) weights when
it loads a folder. All of that is affine: each number of mlx-lm's is a constant plus one of transformers', times a
factor. Its inverse is then the transpose of its derivative, divided by the squared factors, and nothing needs to be
known of the model but the names and shapes that go in:

    folder ──names, shapes──> sanitize ──derivative──> transpose ──weights less constants──> transformers' weights
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from mentor_kit.backend.text_weights import text_name, text_weights
from mentor_kit_mlx.embeddings import PROJECTION
from mentor_kit_mlx.params import Arrays, read, read_format
from mentor_kit_mlx.transformers_names import KNOWN, Shapes, transformers_shapes

#: What models raise in `sanitize` about names that are not theirs.
_UNFIT = (ValueError, KeyError, TypeError, IndexError, AttributeError)
#: Beginnings of names that a model of text can have inside of another.
_INSIDE = ("", "model.language_model.", "language_model.model.", "language_model.")


@dataclass(frozen=True)
class TransformersForm:
    """The names and shapes of a model's weights in transformers, and how mlx-lm reads them."""

    shapes: Shapes
    """By the names that `sanitize` takes."""
    sanitize: Callable[[Arrays], Arrays]
    """From arrays of these shapes to mlx-lm's weights."""

    def names(self) -> frozenset[str]:
        """The names of the weights of the model of text alone, as transformers has them."""
        return frozenset(map(text_name, self.shapes))

    def undo(self, weights: Arrays) -> Arrays:
        """Weights in transformers' form, by the names of the model of text alone; those that mlx-lm drops are left out.

        Args:
            weights: mlx-lm's, floating-point, all of them.
        """
        names, kept = list(self.shapes), list(weights)
        usual = Counter(value.dtype for value in weights.values()).most_common(1)[0][0]
        nothing = [mx.zeros(shape) for shape in self.shapes.values()]

        def run(*arrays: mx.array) -> list[mx.array]:
            done = self.sanitize(dict(zip(names, arrays, strict=True)))
            return [done[name] for name in kept]

        constants = run(*nothing)
        ones = run(*map(mx.ones_like, nothing))
        factors = [one - constant for one, constant in zip(ones, constants, strict=True)]
        shifted = [weights[name].astype(mx.float32) - constant for name, constant in zip(kept, constants, strict=True)]
        squares = mx.vjp(run, nothing, factors)[1]
        found = mx.vjp(run, nothing, shifted)[1]
        undone: Arrays = {}
        for name, value, square in zip(names, found, squares, strict=True):
            # one after another, so that no more than one is held in float32
            if bool(mx.all(square != 0)):
                own = weights[name].dtype if name in weights else usual
                undone[text_name(name)] = (value / square).astype(own)
                mx.eval(undone[text_name(name)])
        return undone

    def factors(self, layers: Sequence[str]) -> Arrays:
        """What mlx-lm multiplies the weights of layers with, where it is not 1 everywhere.

        Args:
            layers: mlx-lm's names.

        Returns:
            By these names, (outputs, inputs).
        """
        zeros, ones = ({name: fill(shape) for name, shape in self.shapes.items()} for fill in (mx.zeros, mx.ones))
        without, with_ones = self.sanitize(zeros), self.sanitize(ones)
        found = {layer: with_ones[f"{layer}.weight"] - without[f"{layer}.weight"] for layer in layers}
        return {layer: factor for layer, factor in found.items() if not bool(mx.all(factor == 1))}


def transformers_form(model: Any, kind: str, folder: Path, shapes: Shapes) -> TransformersForm | None:
    """The form of a model's weights in transformers; None where it is not known.

    Args:
        model: of mlx-lm, as it was loaded.
        kind: the type of its model of text, as transformers calls it.
        folder: that it was loaded from.
        shapes: of mlx-lm's weights, by name, without an adapter's.
    """
    for names in _candidates(model, kind, folder, shapes):
        form = TransformersForm(names, _sanitizer(model))
        if _reads(form, shapes):
            return form
    return None


def left_out(form: TransformersForm, folder: Path, undone: Mapping[str, mx.array]) -> Arrays:
    """Weights of the model of text that transformers has and mlx-lm drops, as they are in the folder."""
    if read_format(folder) == "mlx":
        return {}
    found = text_weights(_saved(folder))
    dropped = {name: value for name, value in found.items() if name in form.names() and name not in undone}
    return {name: value for name, value in dropped.items() if not name.startswith((f"{PROJECTION}.", "mtp."))}


def _candidates(model: Any, kind: str, folder: Path, shapes: Shapes) -> Iterator[Shapes]:
    """The names and shapes that the folder has, or may stand for."""
    own_head = {name: shape for name, shape in shapes.items() if text_name(name).startswith(f"{PROJECTION}.")}
    if read_format(folder) != "mlx":
        found = {name: tuple(value.shape) for name, value in _saved(folder).items()}
        alone = text_weights(found)
        saved = {name: shape for name, shape in found.items() if text_name(name) in alone}
        yield saved
        # the model was untied
        yield saved | own_head
    if kind not in KNOWN:
        return
    inner = {text_name(name): shape for name, shape in shapes.items()}
    theirs = transformers_shapes(kind, inner)
    for inside in _INSIDE:
        yield {_moved(name, inside): shape for name, shape in theirs.items()}


def _moved(name: str, inside: str) -> str:
    """A name of the model of text, inside of another."""
    if not inside or name.startswith(f"{PROJECTION}."):
        return name if not inside.startswith("language_model.") else f"language_model.{name}"
    return f"{inside}{name.removeprefix('model.')}" if inside.endswith("model.") else f"{inside}{name}"


def _saved(folder: Path) -> Arrays:
    """The weights in a folder; nothing but names and shapes is read until they are used."""
    found: Arrays = {}
    for file in sorted(folder.glob("model*.safetensors")):
        found |= read(file)
    return found


def _sanitizer(model: Any) -> Callable[[Arrays], Arrays]:
    """The model's `sanitize` without its effects on the model: Gemma 3's takes its output projection off."""

    def sanitize(weights: Arrays) -> Arrays:
        twin = copy.copy(model)
        holders = [twin]
        if "language_model" in model:
            twin["language_model"] = copy.copy(model["language_model"])
            holders.append(twin["language_model"])
        for holder in holders:
            if PROJECTION not in holder:
                holder[PROJECTION] = None
        done: Arrays = twin.sanitize(dict(weights)) if hasattr(twin, "sanitize") else dict(weights)
        return done

    return sanitize


def _reads(form: TransformersForm, shapes: Shapes) -> bool:
    """Whether mlx-lm makes weights of these names and shapes from the form's."""
    try:
        made = form.sanitize({name: mx.zeros(shape) for name, shape in form.shapes.items()})
    except _UNFIT:
        return False
    return {name: tuple(value.shape) for name, value in made.items()} == shapes
