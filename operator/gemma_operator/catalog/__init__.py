"""Room 2, the facts: Gemma variants, accelerators, engines and what runs on what, as data with its sources.

Nothing here decides. `data/*.yaml` holds the rows, each with source and confidence; `rows.py` says what a
row may contain; `load.py` reads, checks and joins them into one immutable `Catalog`.
"""

from gemma_operator.catalog.catalog import Catalog
from gemma_operator.catalog.load import CatalogError, OverlayError, load_catalog, with_overlay

__all__ = ["Catalog", "CatalogError", "OverlayError", "load_catalog", "with_overlay"]
