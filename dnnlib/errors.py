"""The one exception that command lines turn into a single line and exit status 2."""


class UserError(Exception):
    """Something that the user can mend: the text names what is wrong, where, and the cure.

    Commands print it as one line on stderr and exit with status 2, without a traceback.
    """
