"""Text as it is compared: folded, so that letters in disguise look like what they are read as."""

from __future__ import annotations

import re
import unicodedata

# Characters that nobody sees: controls but for tab and line ends, bidirectional overrides, and the "tag"
# block, which smuggles whole sentences. Joiners and variation selectors stay: emoji and Indic scripts need
# them.
_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
# For comparing, joiners, soft hyphens and the like go as well: "b\u200bomb" is read as "bomb".
_JOINERS = re.compile(
    r"[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2060-\u2064\ufe00-\ufe0f\ufeff]"
)
_SPACES = re.compile(r"\s+")


def without_unseen(text: str) -> str:
    """`text` without control characters, bidirectional overrides and tag characters."""
    return _UNSEEN.sub("", text)


def folded(text: str) -> str:
    """`text` for comparing: compatibility forms, case, accents, joiners and runs of spaces folded away."""
    plain = text if text.isascii() else _plain(text)
    return _SPACES.sub(" ", plain.casefold())


def _plain(text: str) -> str:
    text = _JOINERS.sub("", _UNSEEN.sub("", text))
    decomposed = unicodedata.normalize("NFKD", text)
    # Marks of Latin, Greek and Cyrillic letters are accents; in other scripts they are vowels and stay.
    return unicodedata.normalize("NFC", "".join(c for c in decomposed if not "\u0300" <= c <= "\u036f"))
