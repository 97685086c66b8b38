"""Names, simulated accelerators, certificates, kubeconfigs, image archives, prerequisites."""

import ctypes
import os
import ssl
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from gemma_devcluster import kubeconfigs, pki, prerequisites
from gemma_devcluster.addresses import Addresses
from gemma_devcluster.archives import image_names, scratch_image, scratch_image_name
from gemma_devcluster.errors import DevclusterError
from gemma_devcluster.layout import Layout, Record, indexes_in_use
from gemma_devcluster.nodes import Node, parse_gpus

ADDRESSES = Addresses(0)


@pytest.mark.parametrize("name", ["", "Upper", "-dash", "dash-", "a" * 32, "a/b", "1st"])
def test_a_name_that_cannot_name_a_node_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DevclusterError, match="lower-case letters"):
        Layout(tmp_path, name)


def test_a_state_folder_that_the_cluster_would_hide_is_refused() -> None:
    with pytest.raises(DevclusterError, match="--state-dir"):
        Layout(Path("/var/lib/somewhere"), "some")


def test_indexes_in_use_are_those_of_every_recorded_cluster(tmp_path: Path) -> None:
    for name, index in (("one", 0), ("two", 5)):
        Record(index, {"nvidia-l4": 1}).write(Layout(tmp_path, name).record)
    assert indexes_in_use(tmp_path) == {"one": 0, "two": 5}
    assert Record.read(Layout(tmp_path, "two").record) == Record(5, {"nvidia-l4": 1})


def test_gpus_are_read_in_the_order_given() -> None:
    assert list(parse_gpus(["nvidia-l4=4", "nvidia-b200=8"]).items()) == [
        ("nvidia-l4", 4),
        ("nvidia-b200", 8),
    ]


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("nvidia-l4", "ACCELERATOR=COUNT"),
        ("nvidia-l4=many", "ACCELERATOR=COUNT"),
        ("nvidia-l5=1", "nvidia-l4"),
        ("nvidia-l4=0", "1 to 16"),
        ("nvidia-l4=17", "1 to 16"),
    ],
)
def test_a_wrong_gpus_argument_is_told_what_is_possible(argument: str, words: str) -> None:
    with pytest.raises(DevclusterError, match=words):
        parse_gpus([argument])


def test_an_ordinary_node_carries_no_accelerator_label() -> None:
    assert Node("some").labels == {}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    pki.write(folder, pki.certificates(ADDRESSES, ["some"]))
    return folder


def certificate_text(path: Path) -> str:
    command = ["openssl", "x509", "-in", str(path), "-noout", "-subject", "-ext", "subjectAltName"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_every_certificate_verifies_against_its_authority(certificates: Path) -> None:
    for certificate in pki.certificates(ADDRESSES, ["some"]):
        authority = certificates / f"{certificate.authority}.crt"
        leaf = certificates / f"{certificate.name}.crt"
        subprocess.run(["openssl", "verify", "-CAfile", authority, leaf], check=True, capture_output=True)


def test_the_kubelet_certificate_names_the_node_and_its_address(certificates: Path) -> None:
    text = certificate_text(certificates / "kubelet-some.crt")
    assert "O = system:nodes, CN = system:node:some" in text
    assert f"IP Address:{ADDRESSES.machine}" in text


def test_the_api_server_certificate_names_the_service_as_pods_call_it(certificates: Path) -> None:
    text = certificate_text(certificates / "apiserver.crt")
    for name in ("kubernetes", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"):
        assert f"DNS:{name}" in text
    assert f"IP Address:{ADDRESSES.api_service}" in text


def test_writing_certificates_again_keeps_them(certificates: Path) -> None:
    before = {path: path.read_bytes() for path in certificates.iterdir()}
    pki.write(certificates, pki.certificates(ADDRESSES, ["some"]))
    assert {path: path.read_bytes() for path in certificates.iterdir()} == before


def test_a_kubeconfig_is_complete_in_itself_and_for_its_owner_alone(
    certificates: Path, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "kubeconfig"
    kubeconfigs.write(path, kubeconfigs.kubeconfig(certificates, ADDRESSES, "some", "admin"))
    assert path.stat().st_mode & 0o777 == 0o600
    content = yaml.safe_load(path.read_text())
    assert content["current-context"] == "devcluster-some"
    assert content["clusters"][0]["cluster"]["server"] == "https://10.208.0.2:6443"
    assert set(content["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}


def test_the_authority_is_one_that_python_trusts(certificates: Path) -> None:
    context = ssl.create_default_context(cafile=certificates / "ca.crt")
    assert len(context.get_ca_certs()) == 1


def test_a_scratch_image_is_the_same_bytes_for_the_same_program(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(b"program")
    assert scratch_image(program) == scratch_image(program)
    name = scratch_image_name(program)
    program.write_bytes(b"another program")
    assert scratch_image_name(program) != name


def test_the_names_in_an_archive_are_found_without_loading_it(tmp_path: Path) -> None:
    program, archive = tmp_path / "pause", tmp_path / "pause.tar"
    program.write_bytes(b"program")
    archive.write_bytes(scratch_image(program))
    assert image_names(archive) == [scratch_image_name(program)]


def test_the_names_in_an_oci_archive_are_found(tmp_path: Path) -> None:
    index = tmp_path / "index.json"
    index.write_text(
        '{"manifests": [{"annotations": {"org.opencontainers.image.ref.name": "localhost/some:1"}}, {}]}'
    )
    archive = tmp_path / "oci.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(index, "index.json")
    assert image_names(archive) == ["localhost/some:1"]


def test_a_file_that_is_no_archive_is_refused_with_the_way_to_make_one(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a tar")
    with pytest.raises(DevclusterError, match="buildah push"):
        image_names(file)


def test_an_archive_without_a_name_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "nameless.tar"
    with tarfile.open(archive, "w"):
        pass
    with pytest.raises(DevclusterError, match="names no image"):
        image_names(archive)


def test_missing_packages_are_named_together_with_the_command_that_installs_them() -> None:
    wanted = [
        prerequisites.Prerequisite("first-package", program="no-such-program"),
        prerequisites.Prerequisite("coreutils", program="ls"),
        prerequisites.Prerequisite("second-package", file="/no/such/file"),
    ]
    with pytest.raises(DevclusterError) as caught:
        prerequisites.require(wanted)
    assert "apt-get install -y --no-install-recommends first-package second-package" in str(caught.value)


def test_open_inotify_instances_are_counted() -> None:
    own = [Path(f"/proc/{os.getpid()}")]
    before = prerequisites.watchers_in_use(own)
    instance = ctypes.CDLL(None).inotify_init1(os.O_CLOEXEC)
    try:
        assert prerequisites.watchers_in_use(own) == before + 1
    finally:
        os.close(instance)


def test_a_machine_with_too_few_inotify_instances_is_refused_with_the_remedy(tmp_path: Path) -> None:
    limit = tmp_path / "max_user_instances"
    limit.write_text("16\n")
    with pytest.raises(DevclusterError, match=r"of 16 are left(.|\n)*sysctl -w fs.inotify"):
        prerequisites.require_watchers(limit)
