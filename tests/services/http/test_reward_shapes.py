"""Each peer's client, as the code named here posts and reads: what it gets is the reward, or an error, never a 0."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.services.http.conftest import Edge

PROMPT, REPLY = "How do I dust a shelf?", "Softly, and from the top."
RENDERED = f"<|user|>{PROMPT}<|end|><|assistant|>"
"""By the chat template of the served model."""


def plain(edge: Edge, prompt: Any = PROMPT, reply: str = REPLY, **more: Any) -> dict[str, Any]:
    answer = edge.http.post("/v1/score", json={"samples": [{"prompt": prompt, "response": reply}], **more})
    assert answer.status_code == 200, answer.text
    return answer.json()["results"][0]


def openrlhf(http: httpx2.Client, query: list[str], prompts: list[str] | None, path: str = "/get_reward") -> dict:
    """OpenRLHF/OpenRLHF openrlhf/utils/agent.py, SingleTurnAgentExecutor: what it posts, and what it reads of it."""
    payload = {"query": query, "prompts": prompts, "labels": [None] * len(query)}
    answer = http.post(path, json=payload)
    answer.raise_for_status()
    info = answer.json()
    scores = info.get("scores")
    return {
        "reward": info.get("rewards"),
        "scores": info.get("rewards") if scores is None else scores,
        "extra_logs": info.get("extra_logs") or {},
    }


def slime(http: httpx2.Client, prompt: Any, response: str, path: str = "/remote_rm") -> Any:
    """THUDM/slime slime/rollout/rm_hub/__init__.py, remote_rm: the answer is the sample's reward as it is."""
    answer = http.post(path, json={"prompt": prompt, "response": response, "label": "42"})
    answer.raise_for_status()
    return answer.json()


def verl(http: httpx2.Client, engine: str, conversation: str) -> float:
    """verl-project/verl verl/experimental/reward_loop/reward_loop.py, compute_score_disrm."""
    if engine == "vllm":
        payload = {"model": "rm", "input": conversation, "use_activation": False}
        answer = http.post("/classify", json=payload)
        answer.raise_for_status()
        return answer.json()["data"][-1]["probs"][-1]
    answer = http.post("/v1/embeddings", json={"model": "rm", "input": conversation})
    answer.raise_for_status()
    return answer.json()["data"][-1]["embedding"][-1]


def gym(http: httpx2.Client, given: Any, output: list[dict[str, Any]], **row: Any) -> dict[str, Any]:
    """NVIDIA-NeMo/Gym responses_api_agents/simple_agent/app.py: it opens a session, then posts to /verify."""
    body = {"responses_create_params": {"input": given, "parallel_tool_calls": True, "tools": []}, **row}
    http.post("/seed_session", json=body).raise_for_status()
    response = {"id": "resp_1", "object": "response", "model": "m", "output": output, "tools": [], "usage": None}
    answer = http.post("/verify", json=body | {"response": response})
    answer.raise_for_status()
    return answer.json()


def said(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": None}]
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content}


def test_openrlhf_gets_a_reward_for_each_query_and_every_objective_to_log(edge):
    other = "<|user|>And a lamp?<|end|><|assistant|>"
    queries = [f"{RENDERED}{REPLY}<|end|>", f"{other}Gently.<|end|><|pad|>"]
    found = openrlhf(edge.http, queries, [RENDERED, other])
    expected = [plain(edge), plain(edge, "And a lamp?", "Gently.")]
    assert found["reward"] == found["scores"] == pytest.approx([one["reward"] for one in expected], abs=1e-5)
    for name, values in found["extra_logs"].items():
        kind, objective = name.split("/")
        assert values == pytest.approx([one["objectives"][objective][kind] for one in expected], abs=1e-5)
    assert len(found["extra_logs"]) == 6


def test_openrlhf_may_leave_out_the_prompts_where_the_template_is_the_served_models(edge):
    found = openrlhf(edge.http, [f"{RENDERED}{REPLY}<|end|>"], None)
    assert found["reward"] == pytest.approx([plain(edge)["reward"]], abs=1e-5)


def test_openrlhf_may_train_without_a_template(edge):
    found = openrlhf(edge.http, [f"{PROMPT}{REPLY}</s>"], [PROMPT])
    assert found["reward"] == pytest.approx([plain(edge)["reward"]], abs=1e-5)


def test_several_turns_and_a_system_turn_are_read_from_a_rendered_conversation(edge):
    turns = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": PROMPT},
    ]
    text = "".join(f"<|{turn['role']}|>{turn['content']}<|end|>" for turn in turns) + "<|assistant|>"
    expected = plain(edge, turns)["reward"]
    assert expected != pytest.approx(plain(edge)["reward"], abs=1e-4)
    assert openrlhf(edge.http, [text + REPLY + "<|end|>"], [text])["reward"] == pytest.approx([expected], abs=1e-5)
    assert verl(edge.http, "vllm", text + REPLY + "<|end|>") == pytest.approx(expected, abs=1e-5)
    assert slime(edge.http, text, REPLY) == pytest.approx(expected, abs=1e-5)


def test_slime_gets_a_number_or_an_object_for_its_reward_key(edge):
    expected = plain(edge)
    assert slime(edge.http, PROMPT, REPLY) == pytest.approx(expected["reward"], abs=1e-5)
    assert slime(edge.http, [{"role": "user", "content": PROMPT}], REPLY) == pytest.approx(expected["reward"], abs=1e-5)
    full = slime(edge.http, RENDERED, REPLY, "/remote_rm?objectives=true&weights=helpful=2")
    assert full["reward"] == pytest.approx(2 * expected["objectives"]["helpful"]["z"], abs=1e-5)
    assert full["z/harmless"] == pytest.approx(expected["objectives"]["harmless"]["z"], abs=1e-5)


def test_verl_gets_its_score_as_vllm_and_as_sglang_answer_it(edge):
    conversation = f"{RENDERED}{REPLY}<|end|>"
    for engine in ("vllm", "sglang"):
        assert verl(edge.http, engine, conversation) == pytest.approx(plain(edge)["reward"], abs=1e-5)


def test_nemo_gym_gets_its_request_back_with_the_reward_and_its_components(edge):
    expected = plain(edge)
    thought = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": None}
    for given in (PROMPT, [{"role": "user", "content": PROMPT, "type": "message"}]):
        found = gym(edge.http, given, [thought, said(REPLY)], task_id="t-7")
        assert found["reward"] == pytest.approx(expected["reward"], abs=1e-5)
        z = {name: one["z"] for name, one in expected["objectives"].items()}
        assert found["reward_components"] == pytest.approx(z, abs=1e-5)
        assert found["z_helpful"] == found["reward_components"]["helpful"]
        assert found["task_id"] == "t-7" and found["response"]["output"][1] == said(REPLY)
        assert found["responses_create_params"]["input"] == given


def test_nemo_gym_summarises_its_rollouts(edge):
    rows = [{"reward": 1.0, "z_helpful": 2.0, "_ng_task_index": 0}, {"reward": 0.0, "_ng_task_index": 1}]
    found = edge.http.post("/aggregate_metrics", json={"verify_responses": rows}).json()
    assert found["agent_metrics"] == {"mean/reward": 0.5, "mean/z_helpful": 2.0}
    assert found["key_metrics"] == {"mean/reward": 0.5} and found["group_level_metrics"] == []


def test_a_judge_that_fails_is_an_error_in_every_shape(edge):
    query = f"?run={edge.broken_run}"
    conversation = f"{RENDERED}{REPLY}<|end|>"
    bodies = {
        "/get_reward": {"query": [conversation], "prompts": [RENDERED]},
        "/remote_rm": {"prompt": PROMPT, "response": REPLY},
        "/classify": {"input": conversation},
        "/v1/embeddings": {"input": conversation},
        "/verify": {"responses_create_params": {"input": PROMPT}, "response": {"output": [said(REPLY)]}},
    }
    for path, body in bodies.items():
        answer = edge.http.post(path + query, json=body)
        assert answer.status_code == 409 and "has no reward: harmless: " in answer.json()["error"]["message"], path
        assert edge.http.post(path, json=body).status_code == 200, path


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/get_reward", {"query": ["hm"]}, "no turns of the user and the assistant"),
        ("/get_reward", {"query": ["a", "b"], "prompts": ["a"]}, "1 of them for 2 queries"),
        ("/get_reward", {"query": ["<|im_start|>user"], "prompts": ["<|im_start|>user"]}, "'<|im_start|>'"),
        ("/get_reward", {"query": [f"<|user|>{PROMPT}<|assistant|>x"]}, "'<|assistant|>' where words should be"),
        ("/get_reward", {"query": []}, "at least one"),
        ("/get_reward", {"prompts": ["a"]}, "query"),
        ("/classify", {"input": "just words"}, "no turns of the user and the assistant"),
        ("/remote_rm", {"prompt": f"{RENDERED}Well", "response": "x"}, "ends with words of the assistant"),
        ("/remote_rm?objectives=yes", {"prompt": "a", "response": "x"}, "allowed: true"),
        (
            "/verify",
            {"responses_create_params": {"input": "a"}, "response": {"output": [{"type": "function_call"}]}},
            "response.output[0]: of type 'function_call'",
        ),
        (
            "/verify",
            {"responses_create_params": {"input": [{"content": "x"}]}, "response": {"output": []}},
            "responses_create_params.input[0].role",
        ),
        ("/aggregate_metrics", {"verify_responses": 3}, "what /verify answered"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(edge, path, body, words):
    answer = edge.http.post(path, json=body)
    assert answer.status_code == 400 and words in answer.json()["error"]["message"], answer.text
