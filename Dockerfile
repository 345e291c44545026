# Three images: `web` (web tier, webhook worker and evaluator, without torch), `worker` (generation, with torch and CUDA) and `vllm`
# (generation with vLLM, which brings its own torch).
#   docker build --target web .        docker build --target worker .        docker build --target vllm -t promptmill-vllm .

FROM python:3.13-slim AS base
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
# The cache folder exists before it becomes a volume, so that the volume belongs to this user.
RUN useradd --create-home promptmill && install -d -o promptmill /home/promptmill/.cache
WORKDIR /build
# Dependencies first, without our code (pip then installs a wheel without packages): a change of the code rebuilds
# seconds, not gigabytes.
COPY pyproject.toml constraints.txt LICENSE ./

FROM base AS web
RUN pip install -c constraints.txt ".[parquet,xlsx]"
COPY . .
RUN pip install --no-deps --force-reinstall .
WORKDIR /home/promptmill
USER promptmill
ENV PROMPTMILL_HOST=0.0.0.0
EXPOSE 8000
CMD ["promptmill", "serve"]

FROM base AS worker
# A worker on a CPU builds its kernels when it first starts, for the CPU it finds: the machine that builds this image may
# have another one. Without a compiler torch computes, at about half the speed.
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN pip install -c constraints.txt ".[worker]"
COPY . .
RUN pip install --no-deps --force-reinstall .
WORKDIR /home/promptmill
USER promptmill
# What the NVIDIA runtime provides: CUDA, and nvidia-smi, with which a worker finds a GPU to claim.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
CMD ["promptmill", "worker", "--processes=1"]

FROM base AS vllm
# The compiler is for Triton and vLLM, which build some of their kernels when a worker starts; what they built is in the cache folder.
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
# Without constraints.txt, whose transformers and llguidance are newer than vLLM's: vLLM pins most of what it needs.
RUN pip install ".[vllm]"
COPY . .
RUN pip install --no-deps --force-reinstall .
WORKDIR /home/promptmill
USER promptmill
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility PROMPTMILL_ENGINE=vllm
CMD ["promptmill", "worker", "--processes=1"]
