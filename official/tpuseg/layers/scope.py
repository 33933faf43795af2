"""Names for what models compute outside of layers, as profiles and the preflight show it."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import tensorflow as tf

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def with_name_scope(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Puts a function's operations into a name scope that is called like it.

    For functions that create no variables: these would get the name as well, and be other ones to who looks for them.
    """

    @functools.wraps(function)
    def scoped(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        with tf.name_scope(function.__name__.strip("_")):
            return function(*args, **kwargs)

    return scoped
