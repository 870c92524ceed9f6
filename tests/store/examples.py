"""Small records that the store's tests share."""

from rlhf_core.records.feedback import Preference, Vote
from rlhf_core.records.samples import Comparison, Prompt, Sample


def sample(name: str, run_id: str = "run", stage: str = "label", policy_version: str = "base") -> Sample:
    prompt = Prompt.of("How do I descale a kettle?", tags=("kitchen",))
    return Sample(
        id=name, prompt=prompt, response=f"answer {name}", policy_version=policy_version, run_id=run_id, stage=stage
    )


def comparison(name: str = "c", run_id: str = "run") -> Comparison:
    return Comparison(id=name, a=sample(f"{name}-a", run_id), b=sample(f"{name}-b", run_id), run_id=run_id)


def vote(name: str, comparison_id: str = "c", run_id: str = "run", swapped: bool = False) -> Vote:
    return Vote(
        id=name,
        comparison_id=comparison_id,
        principle_id="fumes",
        principle_hash="p1",
        template_hash="t1",
        constitution_hash="k1",
        judge="sandbox",
        swapped=swapped,
        logprob_a=-0.25,
        logprob_b=-1.5,
        label_mass=0.99,
        run_id=run_id,
    )


def preference(
    name: str,
    comparison_id: str = "c",
    labeler: str = "human:ada",
    objective: str = "harmless",
    probability: float = 1.0,
    abstained: bool = False,
    run_id: str = "run",
) -> Preference:
    return Preference(
        id=name,
        comparison_id=comparison_id,
        objective=objective,
        labeler=labeler,
        choice="a",
        probability=probability,
        abstained=abstained,
        run_id=run_id,
    )
