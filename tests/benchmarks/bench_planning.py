"""The simulation of a cluster against measurement: jobs of writing and scoring by 1, 2 and 4 processes of this machine.

What a job takes is measured with as many at work at once as will be: they share a memory and its bus, and each is
slower beside others. From that alone the simulation says when all jobs are done by so many processes on the cores that
there are, one thread each. Then they are done.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

import numpy as np
import simpy

from rlhf_core.planning.cluster.simulation import Job, Pool
from tests.benchmarks.rows import Row, report, row

PROCESSES = (1, 2, 4)
JOBS, REPLIES, CALIBRATION = 24, 32, 16
"""Jobs of a measurement, replies of a job, and jobs by which the cost of one is measured."""
LOADED_SECONDS = 300


def work(jobs: Queue[int | None], done: Queue[float], ready: Barrier) -> None:
    """A sampler and scorer with one thread: takes jobs until there are none, and tells when each was done."""
    import torch

    from rlhf_core.config.run import ModelConfig
    from rlhf_core.inference.generate import generate
    from rlhf_core.models.backbone import Backbone
    from rlhf_core.reward_models.reward_model import RewardModel
    from rlhf_core.sandbox.sandbox import MODEL_FOLDER, Sandbox

    torch.set_num_threads(1)
    backbone = Backbone.load(str(MODEL_FOLDER), ModelConfig(threads=1))
    model = RewardModel.create(backbone, "reward", "harmless", 3, 0)
    prompts = Sandbox().prompts

    def job(number: int) -> None:
        asked = [prompts[(number * REPLIES + i) % len(prompts)] for i in range(REPLIES)]
        ids = [backbone.render(prompt.messages) for prompt in asked]
        written = generate(backbone, ids, n=1, temperature=1.0, max_tokens=48, seed=number)
        model.score([(p, backbone.decode(one.tokens)) for p, one in zip(asked, written, strict=True)])

    job(0)
    ready.wait(LOADED_SECONDS)
    while (number := jobs.get()) is not None:
        job(number)
        done.put(time.monotonic())


def measured(processes: int, jobs: int) -> float:
    """Seconds until all jobs are done, from the moment at which all processes have loaded."""
    context: Any = multiprocessing.get_context("spawn")
    queue, done, ready = context.Queue(), context.Queue(), context.Barrier(processes + 1)
    for number in (*range(jobs), *(None,) * processes):
        queue.put(number)
    workers = [context.Process(target=work, args=(queue, done, ready)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    ready.wait(LOADED_SECONDS)
    started = time.monotonic()
    ends = [done.get(timeout=LOADED_SECONDS) for _ in range(jobs)]
    for worker in workers:
        worker.join()
    return max(ends) - started


def simulated(processes: int, jobs: int, job_seconds: float) -> float:
    """The same by the simulation."""
    env, ends = simpy.Environment(), list[float]()
    pool = Pool(env, processes, lambda job: job_seconds, lambda job: ends.append(env.now), slots=os.cpu_count())
    for number in range(jobs):
        pool.queue.put(Job(number, np.ones(REPLIES)))
    env.run()
    return max(ends)


def measure() -> Iterator[Row]:
    at_once = {processes: min(processes, os.cpu_count() or 1) for processes in PROCESSES}
    job_seconds = {n: measured(n, CALIBRATION) * n / CALIBRATION for n in sorted({*at_once.values()})}
    told = ", ".join(f"{seconds:.3f} s by {n} at once" for n, seconds in job_seconds.items())
    print(f"  a job takes {told}; load {os.getloadavg()[0]:.2f}", flush=True)
    for processes in PROCESSES:
        took = measured(processes, JOBS)
        yield row(
            f"{JOBS} jobs by {processes} processes, simulated against measured",
            simulated(processes, JOBS, job_seconds[at_once[processes]]),
            took,
            "s",
        )


if __name__ == "__main__":
    report(measure)
