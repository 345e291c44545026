"""For tests of vLLM as an engine, which run in an environment of its own: `make test-vllm`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# vLLM reads these when it is imported, or when its engine starts; child processes inherit them.
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB; by itself it takes half of the memory
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # several tests share the cores
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")

HERE = Path(__file__).parent
PASSED: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--at-least", type=int, default=0, help="fail if fewer of tests/vllm pass")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings of vLLM and of what it imports are none of ours."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.filterwarnings("ignore"))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed and report.nodeid.startswith("tests/vllm/"):
        PASSED.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Skipped tests, and files that were not collected, count as failures of the whole run."""
    least = session.config.getoption("--at-least")
    if exitstatus == pytest.ExitCode.OK and len(PASSED) < least:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        session.config.pluginmanager.getplugin("terminalreporter").write_line(
            f"{len(PASSED)} tests of vLLM passed, at least {least} must", red=True
        )


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small random Llama in float32, of sizes that vLLM has on a CPU."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.support.tiny_folder import tiny_folder

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=384,
        hidden_size=128,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        initializer_range=0.2,  # large, or all logits are alike and greedy texts prove nothing
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=0,
    )
    return tiny_folder(tmp_path_factory.mktemp("tiny") / "tiny-llama", LlamaForCausalLM(config))
