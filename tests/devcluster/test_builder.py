"""Building Go programs into the cache: real `go build`s of a tiny module."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gemma_devcluster import builder
from gemma_devcluster.errors import DevclusterError
from gemma_devcluster.toolsets import (
    CLUSTER_TOOL_SETS,
    KEDA,
    METRICS_SERVER,
    PROMETHEUS,
    PROMETHEUS_ADAPTER,
    TOOL_SETS,
    ToolSet,
    linker_flags,
    pinned_version,
)

ON_DEMAND = (KEDA, METRICS_SERVER, PROMETHEUS, PROMETHEUS_ADAPTER)
TOOLCHAIN = "go1.26.8 linux/amd64"
MakeToolSet = Callable[[str], ToolSet]


@pytest.fixture
def make_tool_set(tmp_path: Path) -> MakeToolSet:
    def make(source: str) -> ToolSet:
        folder = tmp_path / "tools" / "tiny"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "go.mod").write_text("module example.test/tiny\n\ngo 1.26\n")
        (folder / "main.go").write_text(source)
        packages = {"renamed": "example.test/tiny"}
        return ToolSet("tiny", packages, expected_seconds=1, root=tmp_path / "tools")

    return make


def test_a_build_is_kept_until_its_source_changes(make_tool_set: MakeToolSet, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = builder.ensure([make_tool_set("package main\nfunc main() {}\n")], cache)
    program = first.path("renamed").resolve()
    written = program.stat().st_mtime_ns
    again = builder.ensure([make_tool_set("package main\nfunc main() {}\n")], cache)
    assert again == first
    assert program.stat().st_mtime_ns == written
    changed = builder.ensure([make_tool_set('package main\nfunc main() { println("other") }\n')], cache)
    assert changed.path("renamed").resolve() != program


def test_a_failed_build_shows_its_last_lines_and_leaves_no_program(
    make_tool_set: MakeToolSet, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(DevclusterError) as caught:
        builder.ensure([make_tool_set("package main\nfunc main() { undefined() }\n")], cache)
    assert "building tiny failed" in str(caught.value)
    assert "undefined: undefined" in str(caught.value)
    assert [p for p in cache.iterdir() if p.is_dir()] == []


def test_the_progress_of_a_build_is_told_in_whole_lines(
    make_tool_set: MakeToolSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    builder.ensure([make_tool_set("package main\nfunc main() {}\n")], tmp_path / "cache")
    begun, ended = capsys.readouterr().err.splitlines()
    assert begun.startswith("building tiny: about 1 s")
    assert ended.startswith("built tiny in ")
    assert ended.endswith("(1 of 1)")


@pytest.mark.parametrize("file", ["go.mod", "go.sum", "main.go"])
def test_the_hash_follows_every_file_that_decides_the_program(make_tool_set: MakeToolSet, file: str) -> None:
    tool_set = make_tool_set("package main\n")
    before = builder.content_hash(tool_set, TOOLCHAIN)
    path = tool_set.folder / file
    path.write_text((path.read_text() if path.exists() else "") + "// changed\n")
    assert builder.content_hash(tool_set, TOOLCHAIN) != before


def test_the_hash_follows_the_toolchain_and_not_the_place(make_tool_set: MakeToolSet) -> None:
    tool_set = make_tool_set("package main\n")
    assert builder.content_hash(tool_set, TOOLCHAIN) == builder.content_hash(tool_set, TOOLCHAIN)
    assert builder.content_hash(tool_set, TOOLCHAIN) != builder.content_hash(tool_set, "go1.27 linux/amd64")
    moved = tool_set.root.with_name("elsewhere")
    tool_set.root.rename(moved)
    there = ToolSet("tiny", tool_set.packages, expected_seconds=1, root=moved)
    assert builder.content_hash(there, TOOLCHAIN) == builder.content_hash(tool_set_at(moved), TOOLCHAIN)


def tool_set_at(root: Path) -> ToolSet:
    return ToolSet("tiny", {"renamed": "example.test/tiny"}, expected_seconds=99, root=root)


def test_every_program_comes_from_a_module_that_is_pinned_with_its_sums() -> None:
    for tool_set in (*TOOL_SETS, *ON_DEMAND):
        assert (tool_set.folder / "go.sum").stat().st_size > 0, tool_set.name
        linker_flags(tool_set, (tool_set.folder / "go.mod").read_text())


def test_the_versions_are_those_the_project_names() -> None:
    pins = {s.name: s for s in (*TOOL_SETS, *ON_DEMAND)}
    wanted = {
        "kubernetes": ("k8s.io/kubernetes", "1.36."),
        "etcd": ("go.etcd.io/etcd/server/v3", "3.6."),
        "containerd": ("github.com/containerd/containerd/v2", "2.4."),
        "helm": ("helm.sh/helm/v4", "4."),
        "keda": ("github.com/kedacore/keda/v2", "2.21."),
        "metrics-server": ("sigs.k8s.io/metrics-server", "0.9."),
        "prometheus": ("github.com/prometheus/prometheus", "0.3"),
        "prometheus-adapter": ("sigs.k8s.io/prometheus-adapter", "0.12."),
    }
    for name, (module, version) in wanted.items():
        go_mod = (pins[name].folder / "go.mod").read_text()
        assert pinned_version(go_mod, module).startswith(version)


def test_kubernetes_reports_its_pinned_version_to_servers_and_callers() -> None:
    kubernetes = next(s for s in TOOL_SETS if s.name == "kubernetes")
    flags = linker_flags(kubernetes, "require k8s.io/kubernetes v1.36.3\n")
    assert "-X k8s.io/component-base/version.gitVersion=v1.36.3" in flags
    assert "-X k8s.io/component-base/version.gitMinor=36" in flags
    assert "-X k8s.io/client-go/pkg/version.gitVersion=v1.36.3" in flags


def test_an_unpinned_module_is_an_error_that_names_it() -> None:
    with pytest.raises(DevclusterError, match=r"example\.test/absent"):
        pinned_version("require example.test/absentee v1.0.0\n", "example.test/absent")


def test_only_runc_needs_a_c_compiler() -> None:
    assert {s.name for s in TOOL_SETS if s.uses_cgo} == {"runc"}


def test_what_scaling_needs_is_built_only_when_asked_for() -> None:
    assert not set(ON_DEMAND) & {*TOOL_SETS, *CLUSTER_TOOL_SETS}


def test_a_cluster_does_not_wait_for_promtool() -> None:
    assert {s.name for s in TOOL_SETS} - {s.name for s in CLUSTER_TOOL_SETS} == {"promtool"}
