"""The exceptions that command lines turn into a single line and an exit status."""


class UserError(Exception):
    """Something that the user can mend: the text names what is wrong, where, and the cure.

    Commands print it as one line on stderr and exit with status 2, without a traceback.
    """


class Terminated(Exception):
    """SIGTERM came, all work is saved, and the same command goes on with it: status 75.

    75 is EX_TEMPFAIL of sysexits.h, "try again later", which is what a cluster's queue shall do.
    """

    STATUS = 75
