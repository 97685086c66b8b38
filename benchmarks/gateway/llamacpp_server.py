"""llama.cpp's own OpenAI server, with the engine's settings of a serving pod.

python llamacpp_server.py GGUF PORT SLOTS CONTEXT_LENGTH THREADS
"""

import signal
import sys

import xllamacpp

BATCH_TOKENS, MICRO_BATCH_TOKENS = 512, 128
"""n_batch and n_ubatch, as the engine of a pod has them."""


def main() -> None:
    """Serve until SIGTERM."""
    path, port, slots, context_length, threads = sys.argv[1], *map(int, sys.argv[2:])
    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.n_parallel = slots
    parameters.n_ctx = context_length * slots
    parameters.kv_unified = False
    parameters.n_batch, parameters.n_ubatch = BATCH_TOKENS, MICRO_BATCH_TOKENS
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.n_threads_http = slots + 4
    parameters.cache_ram_mib = 0
    parameters.n_gpu_layers = 0
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.ui = False
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
