"""What stops the stack, told in words to the person at the terminal."""


class StackError(Exception):
    """The stack cannot start or go on; the text says why and what to do."""
