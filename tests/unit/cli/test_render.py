from pathlib import Path

import pytest
import yaml

from gemma_operator.__main__ import main

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
QUICKSTART = str(EXAMPLES / "quickstart.yaml")


def write(folder: Path, text: str) -> str:
    path = folder / "input.yaml"
    path.write_text(text)
    return str(path)


def head(name: str = "x", more: str = "") -> str:
    return (
        "apiVersion: serving.gemma-operator.dev/v1alpha1\nkind: GemmaDeployment\n"
        f"metadata: {{name: {name}{more}}}\n"
    )


def rendered(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    assert main(["render", *arguments]) == 0
    return [document for document in yaml.safe_load_all(capsys.readouterr().out) if document]


def test_an_example_is_rendered_as_a_stream_of_objects(capsys: pytest.CaptureFixture[str]) -> None:
    kinds = [document["kind"] for document in rendered(capsys, QUICKSTART)]
    assert kinds == ["ServiceAccount", "NetworkPolicy", "ConfigMap", "Service", "Deployment"]


def test_what_names_no_owner_cannot_be_collected_as_garbage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", QUICKSTART]) == 0
    assert "ownerReferences" not in capsys.readouterr().out


def test_a_resource_out_of_a_cluster_keeps_its_owner_and_namespace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = head("x", ", namespace: team-a, uid: u-1, generation: 2")
    text += "spec: {model: {variant: gemma-3-270m}, hardware: {accelerator: cpu}}\n"
    assert main(["render", write(tmp_path, text), "--namespace", "ignored"]) == 0
    out = capsys.readouterr().out
    assert "uid: u-1" in out
    assert "namespace: team-a" in out
    assert "ignored" not in out


def test_settings_are_read_from_their_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = write(tmp_path, "images: {gateway: 'registry.example/gateway:7'}\n")
    assert main(["render", QUICKSTART, "--settings", settings]) == 0
    assert "registry.example/gateway:7" in capsys.readouterr().out


def test_a_list_of_nodes_is_planned_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = {
        "kind": "Node",
        "metadata": {"name": "n", "labels": {}},
        "status": {"allocatable": {"cpu": "1", "memory": "256Mi"}},
    }
    nodes = write(tmp_path, yaml.safe_dump({"kind": "NodeList", "items": [node]}))
    assert main(["render", QUICKSTART, "--nodes", nodes]) == 1
    assert "DoesNotFit" in capsys.readouterr().err


def test_a_refusal_is_told_and_gives_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, head() + "spec: {model: {variant: gemma-3-8b-it}}\n")
    assert main(["render", path]) == 1
    told = capsys.readouterr()
    assert "gemma-3-8b-it does not exist" in told.err
    assert told.out == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not YAML"),
        ("[1]", "expected an object, found list"),
        ("kind: Pod\n", "holds no GemmaDeployment"),
        ("kind: GemmaDeployment\nspec: {}\n", "metadata.name: is required"),
        (head() + "spec: {}\n", "x: spec.model: is required"),
        (head() + "spec: {model: {variant: v, contextLenght: 1}}\n", "there is no such field"),
    ],
)
def test_bad_input_is_told_and_gives_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    assert main(["render", write(tmp_path, text)]) == 2
    assert words in capsys.readouterr().err


def test_a_file_that_is_not_there_gives_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "no-such-file.yaml"]) == 2
    assert "no-such-file.yaml: No such file" in capsys.readouterr().err
