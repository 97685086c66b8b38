"""`python -m support.object_store_main FOLDER`: the files of a folder as the bucket `models`, port 9000."""

import sys
from pathlib import Path

from support.object_store import Misbehaviour, ObjectStore, Stored

PORT = 9000
BUCKET = "models"


def main(folder: Path) -> None:
    """Serve until interrupted, to nobody without keys."""
    store = ObjectStore(address=("0.0.0.0", PORT))
    for path in sorted(folder.iterdir()):
        store.put(BUCKET, f"{folder.name}/{path.name}", Stored(path.read_bytes()))
    store.misbehave(Misbehaviour(keeps_out=True))
    store.serve()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
