"""What one client did to the API server, counted from the server's own audit log."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True)
class Audit:
    """The audit log from one moment on."""

    log: Path
    user: str
    start: int

    @classmethod
    def from_now(cls, log: Path, user: str) -> "Audit":
        return cls(log, user, log.stat().st_size)

    def requests(self) -> Counter[tuple[str, str]]:
        """Finished requests as (verb, resource), since the start."""
        with self.log.open("rb") as file:
            file.seek(self.start)
            lines = file.read().splitlines()
        counted: Counter[tuple[str, str]] = Counter()
        for line in lines:
            event = json.loads(line)
            if event["stage"] == "ResponseComplete" and event["user"]["username"] == self.user:
                reference = event.get("objectRef", {})
                resource = "/".join(filter(None, (reference.get("resource"), reference.get("subresource"))))
                counted[event["verb"], resource] += 1
        return counted

    def writes(self) -> Counter[tuple[str, str]]:
        return Counter({key: n for key, n in self.requests().items() if key[0] in WRITES})

    def gets(self) -> Counter[tuple[str, str]]:
        """Reads of objects. Discovery (`/apis`, …), which kopf does as it starts, names no resource; a log is
        read at most every ten seconds, and only while that pod fetches.
        """
        return Counter(
            {
                (verb, resource): n
                for (verb, resource), n in self.requests().items()
                if verb == "get" and resource not in ("", "pods/log")
            }
        )
