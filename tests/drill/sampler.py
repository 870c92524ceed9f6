"""The sampler elsewhere of the fault drill: a process that serves the sandbox's model over HTTP, in vLLM's shapes.

python -m tests.drill.sampler PORT
"""

from __future__ import annotations

import signal
import sys

import torch

from rlhf_core.config.run import ModelConfig
from rlhf_core.models.backbone import Backbone
from rlhf_core.sandbox.sandbox import MODEL_FOLDER
from tests.vllm_server import TinyVllm, running

if __name__ == "__main__":
    torch.set_num_threads(1)
    with running(TinyVllm(Backbone.load(str(MODEL_FOLDER), ModelConfig())), int(sys.argv[1])):
        print("serving", flush=True)
        signal.pause()
