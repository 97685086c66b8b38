import pytest

from gemma_serving.weights.checksums import Algorithm, Checksum
from gemma_serving.weights.outcome import WeightsError
from gemma_serving.weights.selection import is_data, select
from gemma_serving.weights.source import SourceFile


def files(*names: str) -> list[SourceFile]:
    return [SourceFile(name, 1, Checksum(Algorithm.GIT_SHA1, "0" * 40)) for name in names]


@pytest.mark.parametrize(
    "name", ["a.safetensors", "a.gguf", "config.json", "chat_template.jinja", "tokenizer.model"]
)
def test_weights_and_descriptions_are_data(name: str) -> None:
    assert is_data(name)


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "a.pt", "a.ckpt", "a.pkl", "a.py", "a.so", "a.h5", "README.md", "notes.txt"]
)
def test_pickles_code_and_prose_are_not(name: str) -> None:
    assert not is_data(name)


def test_patterns_reach_into_folders() -> None:
    selected = select("a/b", files("original/x.gguf", "config.json"), ("*.gguf",))
    assert [file.name for file in selected] == ["original/x.gguf"]


def test_a_file_named_twice_is_selected_once() -> None:
    assert len(select("a/b", files("x.gguf"), ("*.gguf", "x.gguf"))) == 1


@pytest.mark.parametrize("name", ["../../etc/evil.json", "/etc/evil.json", "a/../../evil.json"])
def test_a_name_that_leaves_the_folder_is_refused(name: str) -> None:
    with pytest.raises(WeightsError, match="outside"):
        select("a/b", files(name), ("*",))


def test_a_long_repository_is_not_listed_whole() -> None:
    with pytest.raises(WeightsError, match=r"and \d+ more"):
        select("a/b", files(*(f"part-{n}.safetensors" for n in range(40))), ("*.gguf",))
