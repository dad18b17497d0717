"""Packages that only some parts need: imported when they are used, with the cure if missing."""

import importlib
from types import ModuleType

from dnnlib.errors import UserError


def require(name: str, problem: str) -> ModuleType:
    """Imports a module of a package that the project does not always need.

    Args:
        name: of the module.
        problem: the error's text: who needs what, and how it is installed; `{name}` in it becomes
            the name of what is missing.

    Raises:
        UserError: it, or something that it needs, is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(problem.format(name=error.name or name)) from error
