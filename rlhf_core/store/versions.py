"""What was trained, and from which constitution: immutable versions, each with what made it."""

from __future__ import annotations

from rlhf_core.errors import NotFound
from rlhf_core.records.base import Record
from rlhf_core.records.feedback import Calibration, JudgeGate
from rlhf_core.records.models import ConstitutionFile, NormPack, PolicyVersion, RewardModelVersion
from rlhf_core.store.connection import Connections
from rlhf_core.store.row_mapping import RecordType, bytes_hash, from_row, insert, now, stamped

Page = tuple[list[RecordType], int]
"""Entries, oldest first, and the place of the last one, after which the next page begins; 0 where there is none."""


class Versions:
    """Policy versions, reward models, NormPacks, what was found of the judges, and the constitutions behind them."""

    def __init__(self, connections: Connections):
        self._connections = connections

    def add_policy_version(self, version: PolicyVersion) -> None:
        self._add("policy_versions", version)

    def policy_version(self, version_id: str) -> PolicyVersion:
        return self._one(PolicyVersion, "policy_versions", version_id)

    def policy_versions(self, run_id: str | None = None) -> list[PolicyVersion]:
        return self._all(PolicyVersion, "policy_versions", run_id)

    def add_reward_model(self, version: RewardModelVersion) -> None:
        self._add("reward_models", version)

    def reward_model(self, version_id: str) -> RewardModelVersion:
        return self._one(RewardModelVersion, "reward_models", version_id)

    def reward_models(self, run_id: str | None = None) -> list[RewardModelVersion]:
        return self._all(RewardModelVersion, "reward_models", run_id)

    def policy_version_page(self, size: int, after: int = 0, run_id: str | None = None) -> Page[PolicyVersion]:
        return self._page(PolicyVersion, "policy_versions", size, after, run_id)

    def reward_model_page(self, size: int, after: int = 0, run_id: str | None = None) -> Page[RewardModelVersion]:
        return self._page(RewardModelVersion, "reward_models", size, after, run_id)

    def add_norm_pack(self, pack: NormPack) -> None:
        self._add("norm_packs", pack)

    def norm_pack(self, pack_id: str) -> NormPack:
        return self._one(NormPack, "norm_packs", pack_id)

    def add_calibration(self, calibration: Calibration) -> None:
        self._add("calibrations", calibration)

    def calibrations(self, run_id: str | None = None) -> list[Calibration]:
        return self._all(Calibration, "calibrations", run_id)

    def add_gate(self, gate: JudgeGate) -> None:
        self._add("gates", gate)

    def gates(self, run_id: str | None = None) -> list[JudgeGate]:
        return self._all(JudgeGate, "gates", run_id)

    def add_constitution(self, constitution_hash: str, constitution_id: str, text: str, source: str) -> None:
        """Keep a constitution's text as it was written, under the hash that all its results carry.

        Every text of one meaning is kept; `constitution_text` gives the first.
        """
        shared = {"text": text, "source": source, "created_at": now()}
        meaning = {"hash": constitution_hash, "constitution_id": constitution_id} | shared
        file = {"id": bytes_hash(text), "constitution_hash": constitution_hash} | shared
        with self._connections.write() as connection:
            insert(connection, "constitutions", [meaning], key="hash")
            insert(connection, "constitution_files", [file], key="constitution_hash, id")

    def constitution_text(self, constitution_hash: str) -> str:
        rows = self._connections.rows("SELECT text FROM constitutions WHERE hash = ?", [constitution_hash])
        if not rows:
            raise NotFound(f"no constitution '{constitution_hash}' in the store")
        return rows[0]["text"]

    def constitution_files(self, constitution_hash: str) -> list[ConstitutionFile]:
        """The texts that mean this constitution, in the order in which they came."""
        sql = "SELECT id, constitution_hash, source, text FROM constitution_files WHERE constitution_hash = ?"
        rows = self._connections.rows(f"{sql} ORDER BY rowid", [constitution_hash])
        return [from_row(ConstitutionFile, row) for row in rows]

    def _add(self, table: str, record: Record) -> None:
        with self._connections.write() as connection:
            insert(connection, table, stamped([record]))

    def _one(self, model: type[RecordType], table: str, identity: str) -> RecordType:
        rows = self._connections.rows(f"SELECT * FROM {table} WHERE id = ?", [identity])
        if not rows:
            raise NotFound(f"no {table.removesuffix('s').replace('_', ' ')} '{identity}' in the store")
        return from_row(model, rows[0])

    def _page(self, model: type[RecordType], table: str, size: int, after: int, run_id: str | None) -> Page[RecordType]:
        sql = f"""SELECT rowid AS place, * FROM {table} WHERE (:run_id IS NULL OR run_id = :run_id) AND rowid > :after
            ORDER BY rowid LIMIT :size"""
        rows = self._connections.rows(sql, {"run_id": run_id, "after": after, "size": size + 1})
        return [from_row(model, row) for row in rows[:size]], rows[size - 1]["place"] if rows[size:] else 0

    def _all(self, model: type[RecordType], table: str, run_id: str | None) -> list[RecordType]:
        sql = f"SELECT * FROM {table} WHERE :run_id IS NULL OR run_id = :run_id ORDER BY rowid"
        return [from_row(model, row) for row in self._connections.rows(sql, {"run_id": run_id})]
