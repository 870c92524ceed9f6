"""The table of `tests.benchmarks.gpu`: lines that are measured within a time, told as they come and kept in a file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
import transformers
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from rlhf_core.config.run import PassesConfig
from rlhf_core.models.backbone import Backbone
from tests.benchmarks.gpu_work import Dtype, Shape, build, free_memory, peak_gb, seconds_of

GAP = 0.25
"""Of what is left of a part's time, what repeats of one measurement may take."""

Of = Literal["copy", "product"]


class Line(BaseModel):
    """One measurement. `share` is of the speed of a copy or of a product of matrices, as measured on this device."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    part: str
    variant: str
    seconds: float | None = None
    tokens_per_second: float | None = None
    share: float | None = None
    share_of: Of | None = None
    peak_gb: float | None = None
    """Most memory of the GPU."""
    graph_gb: float | None = None
    """What the graph of one pass with gradients keeps for the way back, weights left out."""
    apart: float | None = None
    """The length of the difference from plain passes, as a share of theirs."""
    note: str = ""


class Bench:
    """Measures, tells and keeps line after line, until the time is over."""

    def __init__(self, shape: Shape, device: str, dtype: Dtype, out: Path, seconds: float):
        self.shape, self.device, self.dtype, self.out = shape, device, dtype, out
        self.begun = time.monotonic()
        self.ends = self.begun + seconds
        self.until = self.ends
        """When the part that is going on should be over."""
        self.lines: list[Line] = []
        self.speed: dict[Of, float] = {}
        """Bytes read and written, and operations, of a second."""
        self.keep()

    def build(self, dtype: Dtype | None = None, judged: bool = False, **passes: bool) -> Backbone:
        return build(self.shape, self.device, dtype or self.dtype, PassesConfig(**passes), judged)

    def add(
        self,
        part: str,
        variant: str,
        work: Callable[[], object],
        tokens: float = 0,
        takes: float = 0.0,
        of: Of | None = None,
        graph: Callable[[], int] | None = None,
        note: str = "",
    ) -> None:
        """Measure work that computes so many tokens and cannot do without so many bytes or operations.

        What fails, be it for want of memory, is a line too.
        """
        left = self.until - time.monotonic()
        if left <= 0:
            return self.tell(Line(part=part, variant=variant, note="left out: the part's time is over"))
        try:
            with free_memory(self.device):
                seconds = seconds_of(work, self.device, time.monotonic() + GAP * left)
            found = Line(
                part=part,
                variant=variant,
                seconds=round(seconds, 6),
                tokens_per_second=round(tokens / seconds, 1) if tokens else None,
                share=round(takes / seconds / self.speed[of], 6) if of in self.speed else None,
                share_of=of,
                peak_gb=peak_gb(self.device),
                graph_gb=round(graph() / 1e9, 6) if graph else None,
                note=note,
            )
        except Exception as error:  # a kernel that is not there, or memory: the other lines still count
            reason = " ".join(str(error).split())[:300]
            found = Line(part=part, variant=variant, note=f"failed: {type(error).__name__}: {reason}")
        self.tell(found)

    def compare(self, variant: str, result: Callable[[], Tensor], plain: Tensor) -> None:
        """Tell how far a result is from that of plain passes."""
        try:
            found = result()
            line = Line(part="check", variant=variant, apart=float((found - plain).norm() / plain.norm()))
        except Exception as error:  # as above
            line = Line(part="check", variant=variant, note=f"failed: {type(error).__name__}: {str(error)[:300]}")
        self.tell(line)

    def tell(self, line: Line) -> None:
        self.lines.append(line)
        self.keep()
        rate = f"{line.tokens_per_second:>12,.0f}/s" if line.tokens_per_second else " " * 14
        share = f"{line.share:>7.1%} of {line.share_of:<8}" if line.share is not None else " " * 19
        peak = f"{line.peak_gb:>8.2f} GB" if line.peak_gb is not None else " " * 11
        graph = f"{line.graph_gb:>10.4f} GB" if line.graph_gb is not None else " " * 13
        apart = f"{line.apart:>10.1e} apart" if line.apart is not None else ""
        took = f"{line.seconds:>10.4f} s" if line.seconds is not None else " " * 12
        print(
            f"{line.part:<11}{line.variant:<44}{took}{rate}{share}{peak}{graph}{apart}  {line.note}".rstrip(),
            flush=True,
        )

    def keep(self) -> None:
        """Write all lines to a file that is whole at any time."""
        about = {
            "device": torch.cuda.get_device_name() if self.device.startswith("cuda") else "cpu",
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "dtype": self.dtype,
            "shape": self.shape._asdict(),
            "bytes_per_second": self.speed.get("copy"),
            "operations_per_second": self.speed.get("product"),
            "seconds": round(time.monotonic() - self.begun, 1),
            "lines": [line.model_dump(exclude_none=True) for line in self.lines],
        }
        whole = self.out / "gpu.json.new"
        whole.write_text(json.dumps(about, indent=1) + "\n")
        os.replace(whole, self.out / "gpu.json")
