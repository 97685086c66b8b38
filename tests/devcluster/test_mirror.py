"""The mirror answers as the hub does: to the hub's own client, and on the wire."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from gemma_devcluster.mirror import ACCEPTED_TOKEN, INVALID_TOKEN, PRESETS, Faults, WeightsMirror
from gemma_devcluster.mirror.state import MIB
from support.hub import REPOSITORY, WEIGHTS, WEIGHTS_SIZE, write_model

MANIFESTS = Path(__file__).parents[2] / "devcluster" / "mirror" / "manifests.yaml"


@dataclass(frozen=True)
class Served:
    mirror: WeightsMirror
    content: bytes
    client: httpx.Client

    def resolve(self, method: str = "GET", repository: str = REPOSITORY, **headers: str) -> httpx.Response:
        return self.client.request(method, f"/{repository}/resolve/main/{WEIGHTS}", headers=headers)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    model = write_model(tmp_path / "models")
    with (
        WeightsMirror(tmp_path / "models") as mirror,
        httpx.Client(base_url=mirror.url, follow_redirects=True, trust_env=False) as client,
    ):
        yield Served(mirror, (model / WEIGHTS).read_bytes(), client)


def test_the_hubs_own_client_downloads_a_snapshot(served: Served, tmp_path: Path) -> None:
    folder = Path(snapshot_download(REPOSITORY, endpoint=served.mirror.url, local_dir=tmp_path / "snapshot"))
    assert (folder / WEIGHTS).read_bytes() == served.content
    assert (folder / "config.json").is_file()


def test_the_hubs_own_client_downloads_one_file_into_its_cache(served: Served, tmp_path: Path) -> None:
    path = hf_hub_download(REPOSITORY, WEIGHTS, endpoint=served.mirror.url, cache_dir=tmp_path / "cache")
    assert Path(path).read_bytes() == served.content


def test_model_info_has_commit_sizes_and_digests(served: Served) -> None:
    info = HfApi(endpoint=served.mirror.url, token=False).model_info(REPOSITORY, files_metadata=True)
    assert info.sha is not None
    assert len(info.sha) == 40
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
    assert siblings[WEIGHTS].size == WEIGHTS_SIZE
    assert siblings[WEIGHTS].lfs is not None
    assert siblings["config.json"].blob_id


def test_a_range_is_answered_with_exactly_it(served: Served) -> None:
    answer = served.resolve(Range="bytes=1000-1999")
    assert answer.status_code == 206
    assert answer.content == served.content[1000:2000]
    assert answer.headers["Content-Range"] == f"bytes 1000-1999/{WEIGHTS_SIZE}"


def test_a_range_behind_the_end_is_not_satisfiable(served: Served) -> None:
    assert served.resolve(Range=f"bytes={WEIGHTS_SIZE}-").status_code == 416


def test_a_head_has_the_headers_and_no_body(served: Served) -> None:
    answer = served.resolve("HEAD")
    assert answer.headers["X-Linked-Size"] == str(WEIGHTS_SIZE)
    assert len(answer.headers["X-Repo-Commit"]) == 40
    assert answer.content == b""


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("hf_stranger", 403), (ACCEPTED_TOKEN, 200)])
def test_the_owner_gated_asks_for_an_accepted_token(served: Served, token: str | None, status: int) -> None:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    answer = served.resolve("HEAD", "gated/tiny", **headers)
    assert answer.status_code == status
    assert answer.headers.get("X-Error-Code") == (None if status == 200 else "GatedRepo")


def test_the_hubs_own_client_names_what_the_mirror_refuses(served: Served, tmp_path: Path) -> None:
    api = HfApi(endpoint=served.mirror.url, token=False)
    with pytest.raises(GatedRepoError):
        api.hf_hub_download("gated/tiny", WEIGHTS, local_dir=tmp_path)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("acme/unknown")
    with pytest.raises(RevisionNotFoundError):
        api.model_info(REPOSITORY, revision="v2")


def test_an_invalid_token_is_unknown_even_where_none_is_needed(served: Served) -> None:
    assert served.resolve("HEAD", Authorization=f"Bearer {INVALID_TOKEN}").status_code == 401


def test_a_cut_transfer_ends_early_and_only_below_its_offset(served: Served) -> None:
    served.mirror.set_faults(REPOSITORY, Faults(cut_after_bytes=1000, cut_below_offset=2000))
    with pytest.raises(httpx.RemoteProtocolError):
        served.resolve()
    assert served.resolve(Range="bytes=2000-").content == served.content[2000:]


def test_a_corrupt_byte_is_one_byte_as_often_as_asked(served: Served) -> None:
    served.mirror.set_faults(REPOSITORY, Faults(corrupt_at=10, corrupt_transfers=1))
    first, second = served.resolve().content, served.resolve().content
    assert [n for n in range(WEIGHTS_SIZE) if first[n] != served.content[n]] == [10]
    assert second == served.content


def test_faults_are_set_and_requests_are_told_over_http(served: Served) -> None:
    fault = {"repository": REPOSITORY, "status": 503}
    assert served.client.post("/admin/faults", json=fault).status_code == 200
    assert served.resolve().status_code == 503
    said = served.client.get("/admin/requests").json()
    assert [(request["status"], request["method"]) for request in said] == [(503, "GET")]


def test_an_unknown_fault_is_refused_with_the_known_ones(served: Served) -> None:
    answer = served.client.post("/admin/faults", json={"repository": REPOSITORY, "explode": True})
    assert answer.status_code == 400
    assert "cut_after_bytes" in answer.json()["error"]


def test_presets_fit_the_demo_weights() -> None:
    size = 253_113_024
    cut, corrupt = PRESETS["cut"], PRESETS["corrupt"]
    assert cut.cut_below_offset is not None
    assert MIB < cut.cut_below_offset < size
    assert corrupt.corrupt_at is not None
    assert corrupt.corrupt_at < size


def test_the_manifests_pass_pod_security_restricted() -> None:
    documents = {d["kind"]: d for d in yaml.safe_load_all(MANIFESTS.read_text())}
    pod = documents["Deployment"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert documents["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert json.dumps(documents["Service"]["spec"]["selector"]) in json.dumps(documents["Deployment"])
