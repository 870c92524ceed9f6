"""The clients of the fault drill: they ask again where no answer came, and notice every answer that is wrong."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rlhf_core.config.sampler import SamplerConfig
from rlhf_core.errors import NotFound
from rlhf_core.records.feedback import Preference
from rlhf_core.records.runs import RunEvent
from rlhf_core.records.samples import Comparison, Prompt, Sample
from services.client.client import CharterClient
from services.embedded import embedded_server
from tests.processes import Processes
from tests.small_run import SMALL, Outcome, finished, outcome

PATIENCE_SECONDS = 900.0
PROMPTS = [Prompt.of("How do I clean a kettle?"), Prompt.of("How do I hang a picture?")]
SEEDS = 3


class Reference(NamedTuple):
    """What servers that nobody disturbs answer."""

    run: Outcome
    texts: list[list[str]]
    """Of each seed."""
    scores: list[float]
    samples: list[Sample]


class Notes:
    """What the clients of one round saw; written by their threads."""

    def __init__(self) -> None:
        self.labels: dict[str, Preference] = {}
        """Acknowledged ones, by request id."""
        self.answers = 0
        self.wrong: list[str] = []
        self.events: list[RunEvent] = []


def reference(folder: Path, sampler: SamplerConfig) -> Reference:
    """What one process answers, whose samples another server writes where `sampler` says so."""
    model = SMALL.model.model_copy(update={"sampler": sampler})
    with embedded_server(folder, model) as address, CharterClient.connect(address) as client:
        run_id = finished(client)
        drawn = [client.policy.generate(PROMPTS, n=2, max_tokens=24, seed=seed) for seed in range(SEEDS)]
        scores = [found.score.score for found in client.reward.score_run(drawn[0], run_id)]
    texts = [[sample.response for sample in samples] for samples in drawn]
    return Reference(outcome(folder, run_id), texts, scores, drawn[0])


def ask(processes: Processes, calm: Reference, run_id: str, notes: Notes, over: threading.Event) -> None:
    """Draw text and scores over and over: the same seeds must give the same text, the same weights the same scores."""
    with (
        CharterClient.connect(processes.address("policy"), patience_seconds=PATIENCE_SECONDS) as policy,
        CharterClient.connect(processes.address("reward"), patience_seconds=PATIENCE_SECONDS) as reward,
    ):
        turn = 0
        while not over.wait(1.0):
            seed = turn % SEEDS
            drawn = policy.policy.generate(PROMPTS, n=2, max_tokens=24, seed=seed)
            if [sample.response for sample in drawn] != calm.texts[seed]:
                notes.wrong.append(f"seed {seed} drew another text than in calm")
            with contextlib.suppress(NotFound):
                found = [each.score.score for each in reward.reward.score_run(calm.samples, run_id)]
                if any(abs(a - b) > 1e-4 for a, b in zip(found, calm.scores, strict=True)):
                    notes.wrong.append(f"scores {found}, in calm {calm.scores}")
                notes.answers += 1
            notes.answers += 1
            turn += 1


def label(processes: Processes, calm: Reference, notes: Notes, over: threading.Event) -> None:
    """Label, again where no answer came, and now and then again although one came: the answer must be the same."""
    pair = Comparison(id="comparison-drill", a=calm.samples[0], b=calm.samples[1])
    with CharterClient.connect(processes.address("preference"), patience_seconds=PATIENCE_SECONDS) as client:
        while not over.wait(0.2):
            request = f"label-{len(notes.labels)}"

            # A skip is a label like any other, but nothing learns from it: the run stays comparable.
            def submit(request: str = request) -> Preference:
                return client.preference.submit_preference(
                    pair, objective="helpful", labeler=f"human:{request}", choice="skip", request_id=request
                )

            kept = submit()
            if len(notes.labels) % 10 == 0 and submit() != kept:
                notes.wrong.append(f"the request '{request}' was answered in two ways")
            notes.labels[request] = kept


def watch(processes: Processes, run_id: str, notes: Notes) -> None:
    with CharterClient.connect(processes.address("trainer"), patience_seconds=PATIENCE_SECONDS) as client:
        for event in client.trainer.watch_run(run_id, patience_seconds=PATIENCE_SECONDS):
            notes.events.append(event)


def guarded(notes: Notes, work: Callable[..., None], *arguments: Any) -> threading.Thread:
    """The client in a thread of its own; whatever it raises is a wrong answer."""

    def run() -> None:
        try:
            work(*arguments)
        except Exception as error:
            notes.wrong.append(f"{work.__name__}: {type(error).__name__}: {error}")

    thread = threading.Thread(target=run, name=work.__name__, daemon=True)
    thread.start()
    return thread
