"""Packages that only some parts need: imported when they are used, with the cure if missing."""

import importlib
from types import ModuleType

from dnnlib.errors import UserError


def require(name: str, what: str, requirements: str) -> ModuleType:
    """Imports a package that the project does not always need.

    Args:
        name: of the module.
        what: who needs it, the beginning of the error's text: "payload mode needs galois".
        requirements: the file in `requirements/` that installs it.

    Raises:
        UserError: it, or something that it needs, is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"{what}, and {error.name or name} is not installed; run: "
            f"pip install -r requirements/{requirements}"
        ) from error
