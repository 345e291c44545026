"""Settings of the generation worker: its model, its engine and its lease."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, field_validator

from common.adapters import adapter_model, parse_adapters
from common.errors import ConfigError
from common.ids import MODEL
from common.model_names import DEMO_MODEL, own_name
from common.vllm_args import VllmArgs

# Settings that only vLLM honours, and those that it does not.
ONLY_VLLM = ("tensor_parallel", "pipeline_parallel", "quantization", "gpu_memory", "vllm_args")
NOT_VLLM = ("quantize", "kernels")


class WorkerSettings(BaseModel):
    """A part of `common.settings.Settings`."""

    model: str = Field(
        DEMO_MODEL,
        description="The model: a hub id, a local folder, `smollm2-135m` (the demo model) or "
        "`echo`.",
    )
    model_defaults: Literal["on", "off"] = Field(
        "on",
        description="Whether the model's generation_config.json sets the decoding parameters that "
        "a job leaves out. `off`: promptmill's own defaults do.",
    )
    context: int | None = Field(
        None,
        ge=2,
        le=2**20,
        description="Most tokens of a prompt and its answer together, for models that name no "
        "length (mamba, rwkv, bloom), or below the length they name. Empty: the model's length, "
        "else its tokenizer's, else 512.",
    )
    served_name: str | None = Field(
        None,
        description="Name of the model in jobs. Empty: the hub id or the folder's name. Workers "
        "share a name only with the same weights, dtype, engine and context; another one does not "
        "start under it.",
    )
    engine: Literal["auto", "native", "generate", "echo", "vllm"] = Field(
        "auto",
        description="`native`: batches all requests; `generate`: transformers' own loop, slower; "
        "`vllm`: vLLM in the worker's process (docs/vllm.md); `echo`: repeats the prompt, for "
        "tests; `auto`: native, or generate for models that native cannot run.",
    )
    device: str = Field("auto", description="`cuda`, `cpu`, or `auto`: CUDA if there is a GPU.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="`auto`: bfloat16 if the device computes it natively, else float32. "
        '"Same seed, same text" holds on our own engine: in float32, and on models whose card says '
        "`batch_invariant`.",
    )
    kernels: Literal["auto", "torch"] = Field(
        "auto",
        description="`auto`: kernels of our own where the CPU has AVX512-BF16 and there is a g++ "
        "that builds them once; `torch`: torch's operations only (docs/performance.md).",
    )
    quantize: Literal["int8"] | None = Field(
        None,
        description="`int8`: weights and activations in 8 bits, faster and slightly less exact; "
        "only with compiled kernels on a CPU, for families built as Llama is "
        "(docs/performance.md). Empty: the weights as `PROMPTMILL_DTYPE` says.",
    )
    tensor_parallel: int = Field(
        1,
        ge=1,
        le=64,
        description="GPUs that compute each layer together, engine vllm only.",
    )
    pipeline_parallel: int = Field(
        1,
        ge=1,
        le=64,
        description="Groups of layers on GPUs of their own, engine vllm only.",
    )
    quantization: (
        Literal[
            "awq",
            "awq_marlin",
            "gptq",
            "gptq_marlin",
            "fp8",
            "compressed-tensors",
            "modelopt",
            "modelopt_fp4",
            "mxfp4",
        ]
        | None
    ) = Field(
        None,
        description="How the checkpoint's weights are stored (awq, gptq, fp8, …), engine vllm "
        "only. Empty: as its config.json says.",
    )
    gpu_memory: float | None = Field(
        None,
        ge=0.05,
        le=0.98,
        description="Share of each GPU's memory that vLLM takes, engine vllm only. Empty: vLLM's "
        "own default.",
    )
    vllm_args: str = Field(
        "",
        description="More arguments of vLLM as a JSON object, of those that docs/vllm.md lists; "
        "engine vllm only.",
    )
    adapters: str = Field(
        "",
        description="LoRA adapters that are served beside the model, each as a model "
        "`MODEL:NAME`: `NAME=FOLDER`, comma-separated, 64 at most; engine vllm only "
        "(docs/adapters.md).",
    )
    slots: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="Sequences that are generated at the same time. Empty: 32 on a CPU, 256 on a "
        "GPU.",
    )
    interactive_slots: int | None = Field(
        None,
        ge=0,
        le=4095,
        description="Slots reserved for chats and completions. Empty: an eighth of all.",
    )
    echo_delay: float = Field(
        0.0, ge=0, le=60, description="Seconds that the echo engine takes for a token."
    )
    echo_fail_on: str | None = Field(
        None, description="The echo engine fails items whose prompt contains this text."
    )
    lease: float = Field(
        5.0,
        ge=1,
        le=300,
        description="Seconds without a heartbeat until a worker's lease expires and its items go "
        "to other workers.",
    )
    heartbeat: float = Field(
        1.0, ge=0.1, le=60, description="Seconds between heartbeats; at most a third of the lease."
    )
    wedge_limit: float = Field(
        60.0,
        ge=1,
        le=3600,
        description="Seconds after which an engine step counts as hanging and the worker ends; at "
        "least ten times the warm-up.",
    )
    grace: float = Field(
        20.0,
        ge=0,
        le=3600,
        description="Seconds after SIGTERM in which a worker may finish its items.",
    )
    max_attempts: int = Field(
        3,
        ge=1,
        le=20,
        description="Workers that may die while they run an item, before it fails as "
        "`worker_lost`.",
    )

    @field_validator("model")
    @classmethod
    def _check_model(cls, value: str) -> str:
        if not value.strip():  # a folder's empty path would be the current folder
            raise ValueError("must be a hub id, a local folder, smollm2-135m or echo")
        return value

    @field_validator("served_name")
    @classmethod
    def _check_served_name(cls, value: str | None) -> str | None:
        if value and not (MODEL.fullmatch(value) and value.strip()):
            raise ValueError(
                "must have 1 to 256 characters, none of them a control character, and not only "
                "spaces"
            )
        return value

    @field_validator("vllm_args")
    @classmethod
    def _check_vllm_args(cls, value: str) -> str:
        VllmArgs.parse(value)
        return value

    @field_validator("adapters")
    @classmethod
    def _check_adapters(cls, value: str) -> str:
        parse_adapters(value)
        return value

    def refuse_of_other_engines(self) -> None:
        """Refuse settings that the engine does not honour.

        Raises:
            ConfigError: names the first of them.
        """
        self._refuse_adapters()
        fields = type(self).model_fields
        for name in NOT_VLLM if self.engine == "vllm" else ONLY_VLLM:
            if (value := getattr(self, name)) != fields[name].default:
                hint = (
                    "vLLM takes PROMPTMILL_QUANTIZATION"
                    if name == "quantize"
                    else "leave it out, or choose another engine"
                    if self.engine == "vllm"
                    else "set PROMPTMILL_ENGINE=vllm, or leave it out"
                )
                raise ConfigError(
                    f"PROMPTMILL_{name.upper()}={value} is not honoured by engine {self.engine}; "
                    f"{hint}"
                )

    def _refuse_adapters(self) -> None:
        # The echo engine stands in for one that has adapters, in tests.
        if self.adapters and self.engine != "vllm" and not self.is_echo:
            raise ConfigError(
                f"PROMPTMILL_ADAPTERS={self.adapters} is not honoured by engine {self.engine}; set "
                "PROMPTMILL_ENGINE=vllm, or leave it out"
            )
        try:
            _ = self.served_models
        except ValueError as error:
            raise ConfigError(
                f"PROMPTMILL_ADAPTERS={self.adapters}: {error} with PROMPTMILL_SERVED_NAME"
            ) from None

    @property
    def served_models(self) -> tuple[str, ...]:
        """The names that jobs use for what a worker serves: the model, and it with each adapter."""
        base = self.model_name
        return base, *(adapter_model(base, each) for each in parse_adapters(self.adapters))

    @property
    def model_name(self) -> str:
        """The name that jobs use: `served_name`, else the hub id, else the folder's name."""
        return self.served_name or own_name(self.model)

    @property
    def gpus_per_worker(self) -> int:
        """GPUs that one worker process needs, on a machine that has any."""
        return self.tensor_parallel * self.pipeline_parallel

    @property
    def is_echo(self) -> bool:
        """Whether workers run the echo engine, which needs no model."""
        return "echo" in (self.model, self.engine)
