#!/bin/sh
# Scores a served model with lm-evaluation-harness (pip install "lm-eval[api]" transformers), by token ids through /v1/completions:
#     PROMPTMILL_URL=http://127.0.0.1:8000 OPENAI_API_KEY=pm_… sh run.sh MODEL TOKENIZER-FOLDER
# The tokenizer is the model's own folder or hub id; the demo model's is ~/.cache/promptmill/models/smollm2-135m.
set -e
cd "$(dirname "$0")"
exec lm_eval run --model local-completions --tasks promptmill_capitals --include_path . --model_args \
    "model=$1,tokenizer=$2,base_url=${PROMPTMILL_URL:-http://127.0.0.1:8000}/v1/completions,num_concurrent=4,tokenized_requests=True,max_length=2048"
