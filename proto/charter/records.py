"""What Charter's clients take and give: frozen records, checked when they are made."""

from rlhf_core.config.run import ModelConfig, RunConfig
from rlhf_core.records.datasets import Dataset, DeletedDataset
from rlhf_core.records.feedback import Critique, Opinion, Preference, Revision, Vote
from rlhf_core.records.models import AliasChange, PolicyStanding, PolicyVersion, RewardModelVersion, Score
from rlhf_core.records.runs import Run, RunEvent, StageResult, StepMetrics
from rlhf_core.records.samples import Comparison, Demonstration, Message, Prompt, Sample
from rlhf_core.records.studies import Study, StudyPlan, StudyResults

__all__ = [
    "AliasChange",
    "Comparison",
    "Critique",
    "Dataset",
    "DeletedDataset",
    "Demonstration",
    "Message",
    "ModelConfig",
    "Opinion",
    "PolicyStanding",
    "PolicyVersion",
    "Preference",
    "Prompt",
    "Revision",
    "RewardModelVersion",
    "Run",
    "RunConfig",
    "RunEvent",
    "Sample",
    "Score",
    "StageResult",
    "StepMetrics",
    "Study",
    "StudyPlan",
    "StudyResults",
    "Vote",
]
