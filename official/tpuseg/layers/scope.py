"""Name scopes for functions outside of layers, so that profiles and the preflight show their names."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import tensorflow as tf

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def with_name_scope(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Decorator that runs a function in a name scope with the function's name.

    Do not use it for functions that create variables: their names in checkpoints would change.
    """

    @functools.wraps(function)
    def scoped(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        with tf.name_scope(function.__name__.strip("_")):
            return function(*args, **kwargs)

    return scoped
