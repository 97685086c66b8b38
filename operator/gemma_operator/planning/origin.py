"""Where a plan's files come from: fetched from a hub or a bucket, or mounted from a claim or an image."""

from dataclasses import dataclass

from gemma_operator.api.v1alpha1 import HuggingFaceSource, ModelSource

DIGEST_MARK = "@"
"""Before the digest of an image reference."""


@dataclass(frozen=True, slots=True)
class HubOrigin:
    """A repository of a Hugging Face hub."""

    repository: str
    """`owner/name`."""
    revision: str | None = None
    endpoint: str | None = None
    """Mirror URL; None: the operator's setting."""
    token_secret_name: str | None = None
    token_secret_key: str | None = None
    is_of_server: bool = False
    """Whether another server's repository of the same name is another one: of adapters, which teams name as
    they like. A mirror of a model has the same model."""

    @property
    def source(self) -> str:
        """As status names it."""
        return self.repository

    @property
    def server(self) -> str | None:
        """The endpoint, where it tells repositories of one name apart."""
        return self.endpoint if self.is_of_server else None

    @property
    def identity(self) -> tuple[str | None, ...]:
        """What the files are, whatever server they come from, unless that tells them apart."""
        return (self.repository, self.revision, self.server, None)


@dataclass(frozen=True, slots=True)
class BucketOrigin:
    """A prefix of a bucket."""

    uri: str
    """`gs://bucket/prefix` or `s3://bucket/prefix`, without a slash at its end."""
    endpoint: str | None = None
    """URL of the store; None: the cloud's own."""
    credentials_secret_name: str | None = None

    @property
    def source(self) -> str:
        """As status names it."""
        return self.uri

    @property
    def identity(self) -> tuple[str | None, ...]:
        """A bucket of the same name at another store is another bucket."""
        return (self.uri, self.endpoint, None, None)

    @property
    def revision(self) -> str | None:
        """What lies there is told by the fetch."""
        return None


@dataclass(frozen=True, slots=True)
class ClaimOrigin:
    """An existing claim that already holds the files."""

    claim_name: str
    path: str | None = None

    @property
    def source(self) -> str:
        """As status names it."""
        return f"claim {self.claim_name}"

    @property
    def identity(self) -> tuple[str | None, ...]:
        """Claim and path."""
        return (None, None, self.claim_name, self.path)

    @property
    def revision(self) -> str | None:
        """Nobody knows what its owner put there."""
        return None


@dataclass(frozen=True, slots=True)
class ImageOrigin:
    """An OCI image that the kubelet mounts."""

    reference: str
    path: str | None = None

    @property
    def source(self) -> str:
        """As status names it."""
        return f"image {self.reference}"

    @property
    def identity(self) -> tuple[str | None, ...]:
        """Reference and path."""
        return (None, "image", self.reference, self.path)

    @property
    def revision(self) -> str | None:
        """The digest, where the reference names one."""
        return self.reference.partition(DIGEST_MARK)[2] or None


FetchedOrigin = HubOrigin | BucketOrigin
MountedOrigin = ClaimOrigin | ImageOrigin
Origin = FetchedOrigin | MountedOrigin


def origin_of(source: ModelSource) -> Origin:
    """The origin that a source names."""
    if source.gcs is not None:
        return BucketOrigin(source.gcs.uri.rstrip("/"))
    if source.s3 is not None:
        secret = source.s3.credentials_secret_ref
        return BucketOrigin(source.s3.uri.rstrip("/"), source.s3.endpoint, secret.name if secret else None)
    if source.persistent_volume_claim is not None:
        claim = source.persistent_volume_claim
        return ClaimOrigin(claim.claim_name, claim.path)
    if source.image is not None:
        return ImageOrigin(source.image.reference, source.image.path)
    assert source.hugging_face is not None, "a source has exactly one field"
    return hub_origin(source.hugging_face)


def hub_origin(hub: HuggingFaceSource) -> HubOrigin:
    """The origin that a hub source names."""
    token = hub.token_secret_ref
    return HubOrigin(
        repository=hub.repository,
        revision=hub.revision,
        endpoint=hub.endpoint,
        token_secret_name=token.name if token else None,
        token_secret_key=token.key if token else None,
    )
