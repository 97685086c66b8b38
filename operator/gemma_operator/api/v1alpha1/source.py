"""Where weights come from: fetched from a hub or a bucket, or mounted from a claim or an image."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from gemma_operator.api.base import ApiModel, DnsName, cel

_REVISION_CLIMBS = "revision names a branch, a tag or a commit: it cannot hold '..'"
_PATH_CLIMBS = "path lies within the claim: it cannot hold '..'"
_IMAGE_PATH_CLIMBS = "path lies within the image: it cannot hold '..'"
_URI_CLIMBS = "uri names a bucket and what lies in it: it cannot hold '..'"
_ONE_SOURCE = "exactly one of huggingFace, gcs, s3, persistentVolumeClaim and image must be set"
_STAYS_IN_BUCKET = ("!self.uri.contains('..')", _URI_CLIMBS)

RelativePath = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^/].*$")]
"""A folder or a file within a volume."""


class SecretKeyRef(ApiModel):
    """One key of a Secret in the resource's own namespace."""

    name: DnsName
    """Name of the Secret."""
    key: Annotated[str, StringConstraints(min_length=1, max_length=253)] = Field(default="token")
    """Key within the Secret."""


class SecretRef(ApiModel):
    """A Secret in the resource's own namespace."""

    name: DnsName
    """Name of the Secret."""


class HuggingFaceSource(ApiModel):
    """Weights from a Hugging Face repository or a mirror that speaks its protocol."""

    model_config = ConfigDict(
        json_schema_extra=cel(("!has(self.revision) || !self.revision.contains('..')", _REVISION_CLIMBS))
    )

    repository: Annotated[str, StringConstraints(max_length=200, pattern=r"^[\w.-]+/[\w.-]+$")]
    """Repository as `owner/name`."""
    revision: (
        Annotated[str, StringConstraints(max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")] | None
    ) = Field(default=None)
    """Branch, tag or commit. Default: the revision pinned in the catalogue, or `main`."""
    endpoint: Annotated[str, StringConstraints(max_length=500, pattern=r"^https?://")] | None = Field(
        default=None
    )
    """URL of a mirror. Default: the operator's setting."""
    token_secret_ref: SecretKeyRef | None = Field(default=None)
    """Secret with the access token that gated repositories require."""

    @model_validator(mode="after")
    def _stays_inside(self) -> Self:
        if ".." in (self.revision or ""):
            raise ValueError(_REVISION_CLIMBS)
        return self


class GcsSource(ApiModel):
    """Weights from a bucket of Google Cloud Storage, read as the pods' ServiceAccount (Workload Identity), or
    as anybody where that has no identity."""

    model_config = ConfigDict(json_schema_extra=cel(_STAYS_IN_BUCKET))

    uri: Annotated[
        str, StringConstraints(max_length=1000, pattern=r"^gs://[a-z0-9][a-z0-9._-]+[a-z0-9](/\S*)?$")
    ]
    """Folder of the checkpoint, or one GGUF file, as `gs://bucket/folder`."""

    @model_validator(mode="after")
    def _stays_inside(self) -> Self:
        if ".." in self.uri:
            raise ValueError(_URI_CLIMBS)
        return self


class S3Source(ApiModel):
    """Weights from a bucket of Amazon S3, or of a store that speaks its protocol."""

    model_config = ConfigDict(json_schema_extra=cel(_STAYS_IN_BUCKET))

    uri: Annotated[
        str, StringConstraints(max_length=1000, pattern=r"^s3://[a-z0-9][a-z0-9._-]+[a-z0-9](/\S*)?$")
    ]
    """Folder of the checkpoint, or one GGUF file, as `s3://bucket/folder`."""
    endpoint: Annotated[str, StringConstraints(max_length=500, pattern=r"^https?://[^\s/@]+$")] | None = (
        Field(default=None)
    )
    """URL of the store, as `https://minio.example:9000`. Default: Amazon's."""
    credentials_secret_ref: SecretRef | None = Field(default=None)
    """Secret with the keys `accessKeyId` and `secretAccessKey`, and `sessionToken` where they are temporary.
    Default: the identity of the pods' ServiceAccount (IRSA, EKS Pod Identity), or nobody's."""

    @model_validator(mode="after")
    def _stays_inside(self) -> Self:
        if ".." in self.uri:
            raise ValueError(_URI_CLIMBS)
        return self


class PersistentVolumeClaimSource(ApiModel):
    """Weights that already lie in a claim of the same namespace; nothing is fetched."""

    model_config = ConfigDict(
        json_schema_extra=cel(("!has(self.path) || !self.path.contains('..')", _PATH_CLIMBS))
    )

    claim_name: DnsName
    """Name of the claim. It is mounted read-only."""
    path: RelativePath | None = Field(default=None)
    """Folder or file within the claim, relative. Default: its root."""

    @model_validator(mode="after")
    def _stays_inside(self) -> Self:
        if ".." in (self.path or ""):
            raise ValueError(_PATH_CLIMBS)
        return self


class ImageSource(ApiModel):
    """Weights in an OCI image or artifact, which the kubelet pulls and mounts; nothing is fetched.

    Needs Kubernetes 1.35 (from 1.33 on behind the feature gate ImageVolume) and a runtime that mounts images,
    such as containerd 2.1."""

    model_config = ConfigDict(
        json_schema_extra=cel(("!has(self.path) || !self.path.contains('..')", _IMAGE_PATH_CLIMBS))
    )

    reference: Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^\S+$")]
    """Image, best by digest: what a tag names is looked up anew by each pod. It is mounted read-only."""
    path: RelativePath | None = Field(default=None)
    """Folder or file within the image, relative. Default: its root."""

    @model_validator(mode="after")
    def _stays_inside(self) -> Self:
        if ".." in (self.path or ""):
            raise ValueError(_IMAGE_PATH_CLIMBS)
        return self


class ModelSource(ApiModel):
    """Where the weights come from: exactly one of the fields."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "[has(self.huggingFace), has(self.gcs), has(self.s3), has(self.persistentVolumeClaim),"
                " has(self.image)].exists_one(given, given)",
                _ONE_SOURCE,
            )
        )
    )

    hugging_face: HuggingFaceSource | None = Field(default=None)
    """A Hugging Face repository."""
    gcs: GcsSource | None = Field(default=None)
    """A bucket of Google Cloud Storage."""
    s3: S3Source | None = Field(default=None)
    """A bucket of Amazon S3, or of a store that speaks its protocol."""
    persistent_volume_claim: PersistentVolumeClaimSource | None = Field(default=None)
    """An existing claim."""
    image: ImageSource | None = Field(default=None)
    """An OCI image or artifact."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        given = (self.hugging_face, self.gcs, self.s3, self.persistent_volume_claim, self.image)
        if sum(source is not None for source in given) != 1:
            raise ValueError(_ONE_SOURCE)
        return self
