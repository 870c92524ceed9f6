import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.constitution.extends.semver import Version, parse_range, parse_version, satisfies


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.2.3", Version(1, 2, 3)),
        ("0.0.0", Version(0, 0, 0)),
        ("2.1.0-rc.1+build.5", Version(2, 1, 0, "rc.1")),
        *((bad, None) for bad in ("1.2", "v1.2.3", "01.2.3", "1.2.3.4", "", "1.2.3-", "9" * 5000 + ".0.0")),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_version_has_three_numbers_and_may_have_a_prerelease(text, expected):
    assert parse_version(text) == expected


@pytest.mark.parametrize(
    ("wanted", "inside", "outside"),
    [
        ("^1", "1.0.0 1.9.9", "0.9.9 2.0.0 1.0.0-rc.1"),
        ("^1.2", "1.2.0 1.9.0", "1.1.9 2.0.0"),
        ("^0.2.3", "0.2.3 0.2.9", "0.2.2 0.3.0"),
        ("^0.0.3", "0.0.3", "0.0.2 0.0.4"),
        ("^0", "0.0.0 0.9.0", "1.0.0"),
        ("~1.2.3", "1.2.3 1.2.9", "1.2.2 1.3.0"),
        ("~1", "1.0.0 1.9.0", "2.0.0"),
        ("1", "1.0.0 1.9.9", "2.0.0"),
        ("1.2", "1.2.0 1.2.9", "1.3.0"),
        ("1.2.3", "1.2.3", "1.2.4 1.2.3-rc.1"),
        ("1.2.3-rc.1", "1.2.3-rc.1", "1.2.3 1.2.3-rc.2"),
    ],
)
def test_a_range_holds_the_versions_that_package_managers_would_take(wanted, inside, outside):
    found = parse_range(wanted)
    assert found is not None
    held = {
        text: satisfies(version, found) for text in f"{inside} {outside}".split() if (version := parse_version(text))
    }
    assert held == dict.fromkeys(inside.split(), True) | dict.fromkeys(outside.split(), False)


@pytest.mark.parametrize("text", ["", "^", "latest", ">=1", "^1.x", "^1 ", "^1.2.3.4"])
def test_other_ranges_are_not_understood(text):
    assert parse_range(text) is None


@given(st.tuples(*[st.integers(0, 30)] * 3), st.sampled_from(["", "^", "~"]))
def test_every_version_is_in_the_ranges_that_begin_with_it(numbers, operator):
    text = ".".join(map(str, numbers))
    version, wanted = parse_version(text), parse_range(operator + text)
    assert version is not None and wanted is not None and satisfies(version, wanted)
