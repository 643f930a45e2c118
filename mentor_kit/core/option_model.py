"""Base class of options: invalid ones are errors for users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ValidationError

from mentor_kit.core.errors import MentorKitError, UsageError
from mentor_kit.core.explanation import explain

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:  # pydantic does not export it
    ModelMetaclass = type(BaseModel)


class OptionsType(ModelMetaclass):
    """Metaclass of options: invalid options built in Python raise a `MentorKitError`.

    Only a call of the class passes here. `model_validate`, and so reading a recipe, raises pydantic's own error, whose
    places the reader needs, and takes no longer than without this class.
    """

    def __call__(cls, *values: Any, **fields: Any) -> Any:
        """Build options from keyword arguments.

        Raises:
            UsageError: there are positional arguments, or a value that `invalid` has no other error for.
        """
        if values:
            raise UsageError(f"{cls.__name__} takes its keys by name", hint=f"for example {cls.__name__}(key=value)")
        try:
            return super().__call__(**fields)
        except ValidationError as error:
            raise cls.invalid(fields, error) from None

    def invalid(cls, fields: dict[str, Any], error: ValidationError) -> MentorKitError:
        """Return the error to raise for invalid fields: by default a `UsageError` that names each of them."""
        found = explain(error, cast(type[BaseModel], cls), fields)
        return UsageError("; ".join(f"{'.'.join(map(str, (cls.__name__, *place)))}: {fault}" for place, fault in found))


class OptionModel(BaseModel, metaclass=OptionsType):
    """Base class of options that callers can build in Python; invalid ones raise a `UsageError`."""
