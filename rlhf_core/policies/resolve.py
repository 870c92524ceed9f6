"""Which policy version a reference means: an alias, `base`, `latest`, a version's id or its beginning, or a run."""

from __future__ import annotations

from rlhf_core.errors import InvalidInput, NotFound, suggestion
from rlhf_core.policies.standing import BASE, latest
from rlhf_core.records.models import PolicyVersion, SpeakingPolicy
from rlhf_core.records.samples import BASE_POLICY
from rlhf_core.store.store import Store

PRODUCTION, LATEST = "production", "latest"
KNOWN_NAMED = 8
"""Policies that an error about an unknown one names."""
MIN_PREFIX = len("policy-") + 4
"""Characters of an id's beginning: fewer are a slip of the pen."""


def speaking(store: Store, reference: str = "") -> SpeakingPolicy:
    """Resolve a reference; none means the holder of `production`, or the base where nobody holds it.

    Raises:
        NotFound: nothing is called so; for `latest`, no finished run's policy has passed its gates.
        InvalidInput: it is the beginning of several ids.
    """
    if reference == BASE_POLICY:
        return SpeakingPolicy(BASE_POLICY)
    if reference == LATEST:
        return SpeakingPolicy(_latest(store), LATEST)
    holder = store.aliases.holder(reference or PRODUCTION)
    if holder:
        return SpeakingPolicy(holder, reference or PRODUCTION)
    return SpeakingPolicy(_named(store, reference)) if reference else SpeakingPolicy(BASE_POLICY)


def version_of(store: Store, reference: str = "") -> PolicyVersion:
    """Return the version that a reference means; the base is one too. Raises as `speaking`."""
    version = speaking(store, reference).version
    return BASE if version == BASE_POLICY else store.policy_versions.get(version)


def _latest(store: Store) -> str:
    newest = latest(store)
    if newest is None:
        raise NotFound("no policy version is of a finished run whose gates passed", hint="name a version, or base")
    return newest.id


def _run_named(store: Store, reference: str) -> str:
    try:
        return store.runs.find(reference).id
    except NotFound:
        return reference


def _named(store: Store, reference: str) -> str:
    """A version by its id, by the beginning of it, or by its run."""
    alike = store.policy_versions.beginning_with(reference)
    if reference in alike:
        return reference
    if len(alike) == 1 and len(reference) >= MIN_PREFIX:
        return alike[0]
    if len(alike) > 1 and len(reference) >= MIN_PREFIX:
        raise InvalidInput(
            f"'{reference}' begins {len(alike)} policy versions: {', '.join(alike[:5])}; give more of it"
        )
    made = store.policy_versions.find(_run_named(store, reference))
    if made:
        return next((version.id for version in reversed(made) if not version.is_control), made[-1].id)
    versions, _ = store.policy_versions.page(50, newest=True)
    known = [BASE_POLICY, LATEST, *store.aliases.holders(), *(version.id for version in versions)]
    raise NotFound(
        f"no policy version '{reference[:200]}' in the store", hint=suggestion(reference, known, KNOWN_NAMED)
    )
