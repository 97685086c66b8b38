from pathlib import Path

import pytest

from gemma_operator.__main__ import main
from gemma_operator.api.crd import CRD_FILE, crd_yaml


def test_the_crd_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crd"]) == 0
    assert capsys.readouterr().out == crd_yaml()


def test_what_was_written_verifies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crd", "--write", "--root", str(tmp_path)]) == 0
    assert main(["crd", "--verify", "--root", str(tmp_path)]) == 0


def test_a_stale_file_is_shown_as_a_diff(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["crd", "--write", "--root", str(tmp_path)])
    (tmp_path / CRD_FILE).write_text(crd_yaml().replace("maximum: 1000\n", "maximum: 999\n"))
    assert main(["crd", "--verify", "--root", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "+                maximum: 1000" in told
    assert "make generate" in told
