"""Errors that reach a person."""


class Refused(Exception):
    """A command that must not be carried out; the message says why, in words for the person who asked.

    `stale` is set when somebody else was faster: the page then shows who and when instead of an error.
    """

    def __init__(self, reason: str, *, stale: bool = False):
        super().__init__(reason)
        self.reason = reason
        self.stale = stale
