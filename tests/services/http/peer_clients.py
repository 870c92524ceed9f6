"""Trainers' own client code against an HTTP edge, for a Python that has them and not Charter.

`python peer_clients.py PEER URL TOKENIZER PROMPT REPLY` prints what the trainer makes of the reward, as a line of JSON.
What they need beside their client, such as an engine that writes, stands in for itself here.
"""

from __future__ import annotations

import asyncio
import json
import sys
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

END = "<|end|>"


def tokenizer_of(folder: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


async def openrlhf(url: str, folder: str, prompt: str, reply: str) -> Any:
    """`SingleTurnAgentExecutor.execute`: tokens of an engine, their text to the URL, the reward read back."""
    from openrlhf.utils.agent import SingleTurnAgentExecutor

    tokenizer = tokenizer_of(folder)
    asked = [{"role": "user", "content": prompt}]
    rendered = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    written = tokenizer(reply + END, add_special_tokens=False)["input_ids"]

    class Engine:
        async def generate(self, *_: Any, **__: Any) -> Any:
            output = SimpleNamespace(token_ids=written, finish_reason="stop", logprobs=None)
            return SimpleNamespace(outputs=[output])

    limits = SimpleNamespace(max_tokens=100, logprobs=None)
    executor = SingleTurnAgentExecutor(f"{url}/get_reward")
    found = await executor.execute(rendered, "42", limits, 4096, tokenizer, Engine())
    return {name: found[name] for name in ("reward", "scores", "extra_logs")}


async def verl(url: str, folder: str, prompt: str, reply: str) -> Any:
    """`RewardLoopWorker.compute_score_disrm`, as of a reward model that vLLM serves, and one that SGLang does."""
    import numpy
    import torch
    from omegaconf import OmegaConf
    from verl.experimental.reward_loop.reward_loop import RewardLoopWorker
    from verl.protocol import DataProto

    tokenizer = tokenizer_of(folder)
    worker = object.__new__(RewardLoopWorker)
    worker.input_tokenizer = worker.reward_model_tokenizer = tokenizer
    worker.reward_router_address = urlsplit(url).netloc
    ids = torch.tensor([tokenizer(reply + END, add_special_tokens=False)["input_ids"]])
    turns = numpy.empty(1, dtype=object)
    turns[0] = [{"role": "user", "content": prompt}]
    data = DataProto.from_dict(
        tensors={"responses": ids, "attention_mask": torch.ones_like(ids)}, non_tensors={"raw_prompt": turns}
    )
    found = {}
    for engine in ("vllm", "sglang"):
        model = {"rollout": {"name": engine}, "model_path": "rm"}
        worker.config = OmegaConf.create({"reward": {"reward_model": model}})
        found[engine] = (await worker.compute_score_disrm(data))["reward_score"]
    return found


async def slime(url: str, folder: str, prompt: str, reply: str) -> Any:
    """`async_rm` of `--rm-type remote_rm`, of a prompt that slime has rendered, and of one that it has not."""
    from slime.rollout.rm_hub import async_rm
    from slime.utils.types import Sample

    args = SimpleNamespace(rm_url=f"{url}/remote_rm", rm_type="remote_rm", custom_rm_path=None)
    asked = [{"role": "user", "content": prompt}]
    rendered = tokenizer_of(folder).apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    samples = [Sample(prompt=given, response=reply, label="42") for given in (rendered, asked)]
    return [await async_rm(args, sample) for sample in samples]


async def gym(url: str, folder: str, prompt: str, reply: str) -> Any:
    """`SimpleAgent.run`: it opens a session, has a model answer, and sends all of it to `/verify`."""
    from aiohttp import web
    from nemo_gym.config_types import AggregateMetricsRequest
    from nemo_gym.server_utils import GlobalAIOHTTPAsyncClientConfig, ServerClient, set_global_aiohttp_client
    from omegaconf import OmegaConf
    from responses_api_agents.simple_agent.app import SimpleAgent, SimpleAgentConfig, SimpleAgentRunRequest

    content = [{"type": "output_text", "text": reply, "annotations": []}]
    said = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content}
    answer = {"id": "r", "created_at": 0.0, "model": "m", "object": "response", "output": [said], "tools": []}
    answer |= {"parallel_tool_calls": True, "tool_choice": "auto"}

    async def respond(_: web.Request) -> web.Response:
        return web.json_response(answer)

    app = web.Application()
    app.router.add_post("/v1/responses", respond)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port, edge = runner.addresses[0][1], urlsplit(url)
    servers = {
        "agent": {"responses_api_agents": {"simple_agent": {"host": "127.0.0.1", "port": port}}},
        "rewards": {"resources_servers": {"charter": {"host": edge.hostname, "port": edge.port}}},
    }
    set_global_aiohttp_client(GlobalAIOHTTPAsyncClientConfig())
    head = {"host": "127.0.0.1", "port": port}
    agent = SimpleAgent(
        config=SimpleAgentConfig.model_validate(
            {
                **head,
                "entrypoint": "",
                "name": "agent",
                "resources_server": {"type": "resources_servers", "name": "rewards"},
                "model_server": {"type": "responses_api_models", "name": "agent"},
            }
        ),
        server_client=ServerClient.model_validate(
            {"head_server_config": head, "global_config_dict": OmegaConf.create(servers)}
        ),
    )
    asked = {"responses_create_params": {"input": [{"role": "user", "content": prompt}]}, "task": 7}
    request: Any = SimpleNamespace(cookies={})
    found = (await agent.run(request, SimpleAgentRunRequest.model_validate(asked))).model_dump()
    rows = AggregateMetricsRequest(verify_responses=[{"reward": found["reward"], "_ng_task_index": 0}])
    total = await agent.aggregate_metrics(rows)
    await runner.cleanup()
    told = {name: found[name] for name in ("reward", "reward_components", "task")}
    return told | {"mean": total.agent_metrics["mean/reward"]}


if __name__ == "__main__":
    peer, *given = sys.argv[1:]
    known = {"openrlhf": openrlhf, "verl": verl, "slime": slime, "gym": gym}
    print(json.dumps(asyncio.run(known[peer](*given))), flush=True)
