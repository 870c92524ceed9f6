"""Policies by name: an alias goes to a version by promotion, back by rollback, and all of it is kept."""

from __future__ import annotations

import re

from rlhf_core.errors import Conflict, GatesNotPassed, InvalidInput
from rlhf_core.policies.resolve import LATEST, PRODUCTION, version_of
from rlhf_core.policies.standing import standing
from rlhf_core.records.models import AliasChange, PolicyStanding
from rlhf_core.records.samples import BASE_POLICY
from rlhf_core.store.store import Store

ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,39}")
RESERVED = (BASE_POLICY, LATEST, "last", "all")
MAX_REASON = 1000
"""Characters."""
PAGE = 1000


class Policies:
    """One store's policy versions as people deal with them; `services.client.policy` has the same methods."""

    def __init__(self, store: Store):
        self._store = store

    def get_policy(self, version: str = "") -> PolicyStanding:
        """Return the policy that a reference means; none means `production`, or else the base. Raises NotFound."""
        return standing(self._store, version_of(self._store, version))

    def list_policies(self, run_id: str = "") -> list[PolicyStanding]:
        """List policies, newest first."""
        found, after = self.page(PAGE, 0, run_id)
        while after:
            more, after = self.page(PAGE, after, run_id)
            found += more
        return found

    def page(self, size: int, after: int, run_id: str = "") -> tuple[list[PolicyStanding], int]:
        """Return a page of policies, and the place after which the next one begins; 0 at the end."""
        versions, last = self._store.policy_versions.page(size, after, run_id or None, newest=True)
        holders = self._store.aliases.holders()
        return [standing(self._store, version, holders) for version in versions], last

    def promote_policy(
        self,
        version: str,
        alias: str = PRODUCTION,
        *,
        changed_by: str = "",
        reason: str = "",
        allow_ungated: bool = False,
    ) -> AliasChange:
        """Give the alias to a version whose making is finished and whose gates passed.

        `allow_ungated` overrides the gates, for a reason that the history keeps; nothing overrides the rest.

        Raises:
            NotFound: there is no such version.
            Conflict: it is unfinished, of a run that failed or was cancelled, or a control.
            GatesNotPassed: a judge that taught it has not passed its gate.
            InvalidInput: the alias is no word, or the override has no reason.
        """
        if not version:
            raise InvalidInput("policy_version: not given; name the version to promote", "policy_version")
        check_alias(alias)
        _check_reason(reason)
        with self._store.transaction():
            found = standing(self._store, version_of(self._store, version))
            named = f"policy '{found.version.id}'"
            if found.unfinished:
                raise Conflict(f"{named} cannot be '{alias}': {found.unfinished}")
            if not found.is_fit and not allow_ungated:
                raise GatesNotPassed(
                    f"{named} cannot be '{alias}': a judge has not passed its test, the gate: {found.gate_reason}",
                    hint="promote another version, or set allow_ungated and give a reason, which the history keeps",
                )
            if not found.is_fit and not reason.strip():
                raise InvalidInput("reason: not given; allow_ungated asks for one, which the history keeps", "reason")
            overridden = "" if found.is_fit else found.gate_reason
            return self._store.aliases.promote(alias, found.version.id, changed_by, reason, overridden)

    def rollback_policy(self, alias: str = PRODUCTION, *, changed_by: str = "", reason: str = "") -> AliasChange:
        """Give the alias back to its previous holder, or to nobody. Raises Conflict where nobody holds it."""
        check_alias(alias)
        _check_reason(reason)
        return self._store.aliases.roll_back(alias, changed_by, reason)

    def policy_history(self, alias: str = "") -> list[AliasChange]:
        """Return all changes of an alias, or of every one, newest first."""
        if alias:
            check_alias(alias)
        return self._store.aliases.history(alias, None)


def check_alias(alias: str) -> None:
    """Raise InvalidInput unless the word can be an alias: it must not look like what means something else already."""
    if not ALIAS.fullmatch(alias) or alias in RESERVED or alias.startswith(("policy-", "run-")):
        raise InvalidInput(
            f"alias: '{alias[:100]}' cannot be an alias; allowed: up to 40 of a to z, 0 to 9, - and _, a letter first, "
            f"but for {', '.join(RESERVED)} and what begins with policy- or run-",
            "alias",
        )


def _check_reason(reason: str) -> None:
    if len(reason) > MAX_REASON:
        raise InvalidInput(f"reason: {len(reason)} characters; allowed: {MAX_REASON}", "reason")
