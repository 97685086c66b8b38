"""Whether the installed CRD is the one that this operator was made for, asked until it is."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from gemma_operator.api.served import unprotected
from gemma_operator.controller.basis import Basis
from gemma_operator.kube.errors import ClusterError

LOOK_SECONDS = 30.0
"""While fields are missing. Then nothing is asked again: a CRD is not made older under an operator."""

logger = logging.getLogger(__name__)

Missing = Callable[[], Awaitable[tuple[str, ...]]]


async def check_schema(missing: Missing, basis: Basis) -> bool:
    """Ask once, and hold the basis to the answer; whether nothing is missing. A failure is no answer."""
    try:
        fields = await missing()
    except ClusterError as error:
        logger.warning("the served schema is not known: %s", error)
        return False
    protective = unprotected(fields)
    if fields and protective != basis.unserved:
        logger.error(
            "the installed CustomResourceDefinition drops %s: apply the one of this version",
            ", ".join(fields),
        )
    elif fields and not protective:
        logger.warning("the installed CustomResourceDefinition drops %s", ", ".join(fields))
    basis.unserved = protective
    return not fields


async def follow_schema(missing: Missing, basis: Basis, changed: Callable[[], None]) -> None:
    """Ask until nothing is missing; `changed` is called when endpoints that were held can go on."""
    is_complete = False
    while not is_complete:
        await asyncio.sleep(LOOK_SECONDS)
        held = basis.unserved
        is_complete = await check_schema(missing, basis)
        if held and not basis.unserved:
            changed()
