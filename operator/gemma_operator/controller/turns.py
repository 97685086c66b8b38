"""Whose turn it is to follow a newer operator: at most so many endpoints at once, over the whole fleet."""

from gemma_operator.api.manifest import ObjectKey


class Turns:
    """Held in memory: after a restart a rollout that is under way takes its turn again when it is seen."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._holders: set[ObjectKey] = set()

    def take(self, key: ObjectKey) -> bool:
        """Ask for a turn; True for one who has it already."""
        if key not in self._holders and len(self._holders) >= self._limit:
            return False
        self._holders.add(key)
        return True

    def follow(self, key: ObjectKey, is_upgrading: bool) -> None:
        """Say whether the endpoint is being upgraded: one that was so before a restart keeps on."""
        if is_upgrading:
            self._holders.add(key)
        else:
            self._holders.discard(key)
