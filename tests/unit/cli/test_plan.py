"""The planning commands as a user runs them: what they print, and the exit code."""

import csv
import io
import json
from pathlib import Path

import pytest
import yaml

from gemma_operator.__main__ import main
from gemma_operator.api.base import API_VERSION, KIND

DATA = Path(__file__).resolve().parents[2] / "data" / "planning"
FITS, REFUSED, BAD_INPUT = 0, 1, 2


def manifest(**model: object) -> str:
    spec = {"model": {"variant": "gemma-3-27b-it", **model}, "hardware": {"accelerator": "nvidia-l4"}}
    head = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "assistant"}}
    return yaml.safe_dump({**head, "spec": spec})


def test_a_plan_shows_its_sum_as_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--variant", "gemma-3-27b-it", "--accelerator", "nvidia-l4"]) == FITS
    text = capsys.readouterr().out
    assert "2 x nvidia-l4" in text
    assert "19.75 GiB usable" in text
    assert "█ weights 13.97" in text
    assert "\x1b[" not in text  # plain when piped


def test_a_refusal_prints_fragments_to_paste(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(
        [
            "plan",
            "--variant",
            "gemma-3-27b-it",
            "--precision",
            "BF16",
            "--accelerator",
            "nvidia-l4",
            "--count",
            "1",
        ]
    )
    text = capsys.readouterr().out
    assert code == REFUSED
    assert text.startswith("refused: DoesNotFit")
    bar, ruler, legend = text.split("\n\n")[1].splitlines()
    assert bar.endswith("▓▒ 53.22 GiB needed")
    assert ruler.endswith("┘ 19.75 GiB usable")
    assert ruler.index("┘") < bar.index("▓")
    assert legend.split() == ["█", "weights", "51.43", "▓", "kv", "cache", "1.34", "▒", "overhead", "0.45"]
    fragment = text.split("· precision INT4")[1].split("\n", 1)[1].split("·")[0]
    assert yaml.safe_load(fragment) == {"spec": {"model": {"precision": "INT4"}}}


def test_a_file_is_planned_and_programs_get_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "deployment.yaml"
    file.write_text(manifest(precision="FP8"))
    assert main(["plan", str(file), "--output", "json"]) == FITS
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert (plan["accelerator"], plan["count"], plan["precision"]) == ("nvidia-l4", 2, "FP8")
    assert main(["plan", str(file), "--output", "yaml"]) == FITS
    assert yaml.safe_load(capsys.readouterr().out)["plan"] == plan


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(manifest()))
    assert main(["plan", "-"]) == FITS
    assert "gemma-3-27b-it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give a FILE"),
        (["no-such-file.yaml"], "no-such-file.yaml: No such file"),
        (["--variant", "gemma-3-4b-it", "--count", "99"], "hardware.count: Input should be less than"),
        (["--points", "no-such-file.csv"], "no-such-file.csv: cannot be read"),
        (["--variant", "gemma-3-4b-it", "--overlay", "no-such-folder"], "no-such-folder"),
    ],
)
def test_bad_input_says_what_is_wrong(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *arguments]) == BAD_INPUT
    assert words in capsys.readouterr().err


def test_a_misspelt_field_of_a_file_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "deployment.yaml"
    file.write_text(manifest(precison="FP8"))
    assert main(["plan", str(file)]) == BAD_INPUT
    assert "spec.model.precison: there is no such field" in capsys.readouterr().err


def test_a_bad_overlay_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "prices.yaml").write_text("prices: [{accelerator: nvidia-l4}]")
    assert main(["plan", "--variant", "gemma-3-4b-it", "--overlay", str(tmp_path)]) == BAD_INPUT
    assert "prices.yaml: prices[0]: source: Field required" in capsys.readouterr().err


def test_nodes_bound_what_auto_may_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}
    allocatable = {"cpu": "200", "memory": "1800Gi", "nvidia.com/gpu": "8"}
    node = {"metadata": {"labels": labels}, "status": {"allocatable": allocatable}}
    nodes = {"kind": "NodeList", "items": [node]}
    (tmp_path / "nodes.yaml").write_text(yaml.safe_dump(nodes))
    assert main(["plan", "--variant", "gemma-3-27b-it", "--nodes", str(tmp_path / "nodes.yaml")]) == FITS
    assert "1 x nvidia-h100-80gb" in capsys.readouterr().out


def test_the_matrix_has_a_row_per_variant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--matrix", "--variant", "gemma-3-4b", "--accelerator", "nvidia-l4"]) == FITS
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("gemma")]
    assert [line[0] for line in lines] == ["gemma-3-4b-pt", "gemma-3-4b-it"]
    assert lines[1][1:] == ["1x", "FP8,", "24"]


def test_memory_points_are_answered_beside_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--points", str(DATA / "memory-points.csv")]) == FITS
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 150
    by_id = {row["id"]: row for row in rows}
    assert by_id["P005"]["predicted"] == "2.97672"
    assert abs(float(by_id["P002"]["error_percent"])) < 1
    assert "CUDA graphs" in by_id["P003"]["terms_gib"]
    assert by_id["P128"]["predicted"] == ""
    assert by_id["P128"]["basis"].startswith("not modelled")


def test_throughput_points_are_answered_beside_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--points", str(DATA / "throughput-points.csv")]) == FITS
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 45
    predicted = [row for row in rows if row["predicted"]]
    assert all(float(row["low"]) < float(row["predicted"]) < float(row["high"]) for row in predicted)


def test_a_table_of_neither_kind_names_the_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    assert main(["plan", "--points", str(tmp_path / "other.csv")]) == BAD_INPUT
    assert "needs the columns model, precision" in capsys.readouterr().err


def test_recommend_lists_the_most_capable_within_the_budget(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", "--task", "vision", "--budget", "1.5", "--output", "json"]) == FITS
    found = json.loads(capsys.readouterr().out)
    assert 1 <= len(found) <= 5
    assert all(one["plan"]["outlook"]["hourly_cost"] <= 1.5 for one in found)


def test_recommend_says_when_nothing_fits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", "--task", "vision", "--budget", "0.01"]) == REFUSED
    assert "raise --budget" in capsys.readouterr().err
    assert main(["recommend", "--task", "vision", "--context", "0"]) == BAD_INPUT


def test_explain_gives_each_number_its_formula_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "explain --variant gemma-3-27b-it --accelerator nvidia-l4 --output json"
    assert main(arguments.split()) == FITS
    lines = json.loads(capsys.readouterr().out)
    topics = list(dict.fromkeys(line["topic"] for line in lines))
    assert topics == [
        "model",
        "engine",
        "hardware",
        "weights",
        "memory",
        "cache",
        "speed",
        "cost",
        "start-up",
    ]
    assert all(line["value"] and line["formula"] for line in lines)
    by_name = {(line["topic"], line["name"]): line for line in lines}
    assert by_name["cache", "layout"]["value"] == "6 local + 1 global groups of 10 layers"
    assert "30 engine starts" in by_name["cache", "layout"]["source"]


def test_explain_of_a_refusal_is_the_refusal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--variant", "gemma-3-8b-it"]) == REFUSED
    assert "gemma-3-8b-it does not exist" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["plan", "recommend", "explain"])
def test_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"gemma-operator {command} " in capsys.readouterr().out.split("examples:")[1]
