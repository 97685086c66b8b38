"""The one exception that reaches a user: what is needed, what there is, what to do."""


class DevclusterError(Exception):
    """A failure whose message is meant for a person, printed without a traceback."""
