"""What was built is checked by a process of its own, which its faults end in the worker's place."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytest.importorskip("torch")

from worker.engine.kernels import compiler, judge, library
from worker.engine.kernels.build import SOURCE
from worker.engine.kernels.cache import Verdict
from worker.engine.kernels.cpu import check_cpu
from worker.engine.kernels.no_kernels import NoKernels
from worker.engine.kernels.openmp import gomp

# The kernels, with functions that have the fault that the variable FAULT names.
FAULTY = f"""
#include <csignal>
#include <cstdlib>
#include <string>
#include <unistd.h>

#define pm_linear right_linear
#define pm_attend right_attend
#define pm_norm right_norm
#define pm_draw right_draw
#include "{SOURCE / "kernels.cpp"}"
#undef pm_linear
#undef pm_attend
#undef pm_norm
#undef pm_draw

static bool has_fault(const char* name) {{
    const char* fault = std::getenv("FAULT");
    return fault && std::string(fault) == name;
}}

extern "C" int32_t pm_linear(const kernels::Linear* layer, const kernels::bf16* rows,
                             int64_t stride, int64_t count, void* to, int64_t to_stride,
                             int32_t written) {{
    if (has_fault("instruction")) __builtin_trap();
    if (has_fault("memory")) *static_cast<volatile int*>(nullptr) = 1;
    if (has_fault("end")) _exit(0);
    if (has_fault("killed")) kill(getpid(), SIGKILL);
    if (has_fault("hang")) sleep(100);
    const int32_t result = right_linear(layer, rows, stride, count, to, to_stride, written);
    float& first = *static_cast<float*>(to);
    if (has_fault("product")) first += 1;
    if (has_fault("nan")) first = 0.0f / 0.0f;
    if (has_fault("alone") && count == 1) first *= 1.0000002f;
    if (has_fault("int8") && layer->kind == kernels::INT8) first += 1;
    return result;
}}

extern "C" void pm_attend(const kernels::Cache* cache, const kernels::Rows* rows,
                          const kernels::Plan* plan, const kernels::Reading* reading,
                          const kernels::bf16* queries, int64_t query_stride,
                          const kernels::bf16* keys, int64_t key_stride,
                          const kernels::bf16* values, int64_t value_stride, kernels::bf16* out,
                          int64_t out_stride) {{
    right_attend(cache, rows, plan, reading, queries, query_stride, keys, key_stride, values,
                 value_stride, out, out_stride);
    if (has_fault("attention")) out[0] ^= 0x8000;  // its sign
}}

extern "C" void pm_norm(const kernels::bf16* from, int64_t rows, const kernels::bf16* weight,
                        float epsilon, int64_t width, kernels::bf16* to) {{
    right_norm(from, rows, weight, has_fault("norm") ? 1 : epsilon, width, to);
}}

extern "C" int32_t pm_draw(kernels::Draw* rows, int64_t count, int64_t vocabulary) {{
    if (has_fault("cut")) rows[count - 1].top_k = 1;
    return right_draw(rows, count, vocabulary);
}}
"""


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        check_cpu()
        found = compiler.Compiler.find()
    except NoKernels as reason:
        pytest.skip(str(reason))
    folder = tmp_path_factory.mktemp("faulty")
    (folder / "faulty.cpp").write_text(FAULTY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "FLAGS", (*compiler.FLAGS, "-O0"))  # a few seconds sooner
        found.compile(folder / "faulty.cpp", folder / "faulty.so")
    return folder / "faulty.so"


def test_a_library_without_a_fault_passes(faulty: Path) -> None:
    assert judge.judge(faulty, gomp()) == Verdict("", int8=True)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("product", "products of bfloat16"),
        ("nan", "products of bfloat16"),
        ("alone", "products of bfloat16"),
        ("attention", "numbers of the attention"),
        ("norm", "norms"),
        ("cut", "tokens"),
    ],
)
def test_wrong_numbers_are_told(
    faulty: Path, fault: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULT", fault)
    assert judge.judge(faulty, gomp()).why.startswith(f"{told} are wrong")


def test_wrong_products_of_int8_leave_the_others(
    faulty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULT", "int8")
    assert judge.judge(faulty, gomp()) == Verdict("", int8=False)


@pytest.mark.parametrize(("fault", "name"), [("instruction", "SIGILL"), ("memory", "SIGSEGV")])
def test_a_crash_is_told(
    faulty: Path, fault: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULT", fault)
    assert judge.judge(faulty, gomp()) == Verdict(f"they crash with {name}")


@pytest.mark.parametrize("fault", ["end", "killed", "hang"])
def test_a_check_that_comes_to_no_end_is_no_verdict(
    faulty: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "hang":
        monkeypatch.setattr(judge, "CHECK_LIMIT", 2.0)
    monkeypatch.setenv("FAULT", fault)
    with pytest.raises(NoKernels, match="the next start checks them again"):
        judge.judge(faulty, gomp())


def test_what_is_no_library_is_told(tmp_path: Path) -> None:
    (tmp_path / "garbage.so").write_bytes(b"garbage" * 1000)
    assert "does not load" in judge.judge(tmp_path / "garbage.so", gomp()).why


def test_a_library_without_a_function_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty.cpp").write_text('extern "C" long pm_calls() { return 0; }\n')
    command = [
        "c++",
        "-shared",
        "-fPIC",
        "-o",
        str(tmp_path / "empty.so"),
        str(tmp_path / "empty.cpp"),
    ]
    subprocess.run(command, check=True, timeout=60)
    assert "does not load" in judge.judge(tmp_path / "empty.so", gomp()).why


def test_a_second_openmp_runtime_is_told(
    faulty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As when a compiler links another than the one that torch has loaded.
    (tmp_path / "other.cpp").write_text("int other;\n")
    command = [
        "c++",
        "-shared",
        "-fPIC",
        "-o",
        str(tmp_path / "libomp.so"),
        str(tmp_path / "other.cpp"),
    ]
    subprocess.run(command, check=True, timeout=60)
    told = judge.judge(faulty, tmp_path / "libomp.so").why
    assert "second OpenMP runtime (libgomp.so.1" in told


def test_a_build_that_failed_its_check_is_not_tried_again(
    faulty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []

    def compile_faulty(self: compiler.Compiler, source: Path, to: Path) -> None:
        compiled.append(to)
        to.write_bytes(faulty.read_bytes())

    monkeypatch.setattr(compiler.Compiler, "compile", compile_faulty)
    monkeypatch.setenv("FAULT", "instruction")
    for _ in range(2):
        refused = library._load(tmp_path)
        assert isinstance(refused, NoKernels)
        assert "failed their check: they crash with SIGILL" in refused.why
        assert f"remove {tmp_path}" in refused.fix
    assert len(compiled) == 1
