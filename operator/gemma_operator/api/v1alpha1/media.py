"""`spec.media`: images and sound in requests."""

from typing import Annotated

from pydantic import Field

from gemma_operator.api.base import ApiModel, Quantity


class MediaSpec(ApiModel):
    """Images and sound in requests, where the variant takes them."""

    max_items: Annotated[int, Field(ge=0, le=64)] = Field(default=8)
    """Images and sounds of one request, for the gateway and the engine alike. 0: text only."""
    max_item_size: Quantity = Field(default="20Mi")
    """Largest of them, as it is sent."""
    max_pixels: Annotated[int, Field(ge=1, le=200_000_000)] = Field(default=50_000_000)
    """Largest image, decoded: width times height."""
    fetch_urls: bool = Field(default=False)
    """Fetch `https:` URLs from public addresses; `data:` URLs always work. Opens port 443 to the internet."""
