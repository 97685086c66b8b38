"""Who serves what: endpoints, their ready replicas, and the names that requests may use. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from gemma_serving.contract.codec import Message
from gemma_serving.gateway.errors import ApiError


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """One GemmaDeployment."""

    namespace: str
    name: str

    def __str__(self) -> str:
        """As `namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class EndpointState:
    """What is known of an endpoint."""

    addresses: frozenset[str] = frozenset()
    """`host:port` of the pods that take requests."""
    may_be_zero: bool = False
    """Whether a request may wake it."""
    asks_for_keys: bool = False


@dataclass(frozen=True, slots=True)
class Backend(Message):
    """A share of a route."""

    endpoint: str
    """`namespace/name`."""
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Mirror(Message):
    """Where copies of requests go; their answers are thrown away."""

    endpoint: str
    percent: float = 100.0


@dataclass(frozen=True, slots=True)
class Route(Message):
    """A name of its own, over one endpoint or shared out between several."""

    _nested: ClassVar[dict[str, type]] = {"backends": Backend, "mirror": Mirror}

    model: str
    backends: list[Backend] = field(default_factory=list)
    mirror: Mirror | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes, and what the pods there call its model."""

    endpoint: Endpoint
    model: str
    route: Route | None = None


def parse_endpoint(text: str) -> Endpoint:
    """From `namespace/name`. Raises ValueError."""
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name):
        raise ValueError(f"{text!r} is no endpoint: needs namespace/name")
    return Endpoint(namespace, name)


class SharedOut:
    """Chooses between backends in the exact proportion of their weights (nginx's smooth round robin)."""

    def __init__(self) -> None:
        self._credit: dict[str, dict[str, float]] = {}

    def choose(self, route: Route) -> Backend:
        """The next one's turn."""
        credit = self._credit.setdefault(route.model, {})
        total = sum(backend.weight for backend in route.backends)
        for backend in route.backends:
            credit[backend.endpoint] = credit.get(backend.endpoint, 0.0) + backend.weight
        chosen = max(route.backends, key=lambda backend: credit[backend.endpoint])
        credit[chosen.endpoint] -= total
        return chosen


class Fleet:
    """Endpoints as they are now, and routes as they are configured."""

    def __init__(self, routes: list[Route] | None = None) -> None:
        self.endpoints: dict[Endpoint, EndpointState] = {}
        self._routes = {route.model: route for route in routes or []}
        self._shared_out = SharedOut()

    def replace(self, endpoints: Mapping[Endpoint, EndpointState]) -> None:
        """What discovery has found."""
        self.endpoints = dict(endpoints)

    def names(self) -> list[tuple[str, Endpoint]]:
        """Every name that a request may use, and one endpoint behind it."""
        found = [(route.model, parse_endpoint(route.backends[0].endpoint)) for route in self._routes.values()]
        for endpoint in sorted(self.endpoints):
            is_alone = len(self._named(endpoint.name)) == 1
            found.append((endpoint.name if is_alone else str(endpoint), endpoint))
        return found

    def resolve(self, model: str) -> Target:
        """Where a request for this model goes: a route, `namespace/name` or `name`, each with `:adapter`.

        Raises ApiError 404 for what is not served or not clear.
        """
        name, colon, adapter = model.partition(":")
        route = self._routes.get(name)
        if route is not None:
            endpoint = parse_endpoint(self._shared_out.choose(route).endpoint)
        elif "/" in name:
            endpoint = parse_endpoint(name)
        else:
            endpoint = self._only(name)
        if endpoint not in self.endpoints:
            raise self._unknown(model)
        return Target(endpoint, f"{endpoint.name}{colon}{adapter}", route)

    def _named(self, name: str) -> list[Endpoint]:
        return sorted(endpoint for endpoint in self.endpoints if endpoint.name == name)

    def _only(self, name: str) -> Endpoint:
        found = self._named(name)
        if not found:
            raise self._unknown(name)
        if len(found) > 1:
            names = ", ".join(map(str, found))
            message = f"The model {name!r} is in several namespaces: ask for one of {names}."
            raise ApiError(404, message, code="model_not_found", param="model")
        return found[0]

    def _unknown(self, model: str) -> ApiError:
        message = f"The model {model!r} does not exist; GET /v1/models lists those that do."
        return ApiError(404, message, code="model_not_found", param="model")
