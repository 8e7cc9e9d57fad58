"""What the client tells its job when it cannot keep an event."""


class ClientError(Exception):
    """The client cannot do what it was asked; nothing was kept of it."""


class SpoolFull(ClientError):
    """The spool has reached its limit or the disk is full. The event was not kept; those before it are safe."""


class SpoolInUse(ClientError):
    """Another process (or another client of this one) has the spool directory."""
