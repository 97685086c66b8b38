"""The Triton model repository that a pod's init container writes."""

from __future__ import annotations

import filecmp
import json
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_serving.contract import RuntimeConfig
from gemma_serving.repository import RepositoryError, main, template_folder, write_repository
from support.runtime_configs import runtime_config


def write(folder: Path, config: RuntimeConfig | None = None) -> Path:
    runtime_json = folder / "runtime.json"
    runtime_json.write_text((config or runtime_config()).to_json())
    return write_repository(runtime_json, folder / "models")


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_holds_what_triton_and_the_model_need_and_nothing_else(tmp_path: Path) -> None:
    written = files(write(tmp_path))
    package = [name for name in written if name.startswith("1/gemma_serving/")]
    assert [name for name in written if name not in package] == [
        "1/model.py",
        "1/runtime.json",
        "config.pbtxt",
    ]
    assert {"1/gemma_serving/__init__.py", "1/gemma_serving/contract/__init__.py"} <= set(package)
    assert {Path(name).parts[2] for name in package} == {"__init__.py", "contract", "engines"}
    assert all(name.endswith(".py") for name in package)


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        write(folder)
    names = files(first / "models")
    assert names == files(second / "models")
    assert filecmp.cmpfiles(first / "models", second / "models", names, shallow=False)[1:] == ([], [])


def test_restarted_pod_replaces_what_an_earlier_start_left(tmp_path: Path) -> None:
    stale = write(tmp_path) / "1" / "stale.py"
    stale.write_text("")
    write(tmp_path, runtime_config(context_length=2048))
    assert not stale.exists()
    assert json.loads((tmp_path / "models/gemma/1/runtime.json").read_text())["context_length"] == 2048


def test_triton_configuration_is_decoupled_unbatched_and_on_the_cpu() -> None:
    text = (template_folder() / "config.pbtxt").read_text()
    for line in (
        'name: "gemma"',
        'backend: "python"',
        "max_batch_size: 0",
        "model_transaction_policy { decoupled: true }",
        "instance_group [ { count: 1, kind: KIND_CPU } ]",
    ):
        assert line in text.splitlines()


def test_written_package_imports_alone(tmp_path: Path) -> None:
    """As in NVIDIA's image: the standard library, and nothing of ours but what was copied."""
    version = write(tmp_path) / "1"
    code = "import gemma_serving.engines.host as host; print(host.__file__)"
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(version)!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(version))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"model": "demo"}', "RuntimeConfig"),
        ("nonsense", "not JSON"),
        (runtime_config(engine="onnx").to_json(), "known: llamacpp, vllm, tensorrt_llm"),
    ],
)
def test_runtime_json_that_does_not_fit_is_refused(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "runtime.json").write_text(content)
    with pytest.raises(RepositoryError, match=says):
        write_repository(tmp_path / "runtime.json", tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_command_reports_a_missing_file_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--config", str(tmp_path / "absent.json"), "--target", str(tmp_path / "models")])
    assert code == 1
    assert "cannot read" in capsys.readouterr().err
