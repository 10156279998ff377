"""YAML as people write it: numbers are numbers, words stay words, and errors name the file and the line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from autowarm.errors import AutowarmError, SettingsError
from autowarm.yaml_files import parse_yaml, read_yaml, to_yaml


def parse(text: str) -> dict[str, Any]:
    return parse_yaml(text, source="study.yaml", error=SettingsError)


def value_of(text: str) -> Any:
    return parse(f"key: {text}")["key"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3e-4", 3e-4),
        ("1e5", 1e5),
        ("1E5", 1e5),
        ("-1.5e-3", -1.5e-3),
        ("+2.5e+3", 2500.0),
        ("1.e2", 100.0),
        (".5", 0.5),
        ("-.5", -0.5),
        (".5e-1", 0.05),
        ("5.", 5.0),
        ("0.0", 0.0),
        ("1_000.5", 1000.5),
        ("1_000e3", 1e6),
        (".inf", math.inf),
        ("-.INF", -math.inf),
    ],
)
def test_floats_as_people_write_them_are_floats(text: str, number: float) -> None:
    value = value_of(text)
    assert isinstance(value, float)
    assert value == number


def test_nan_is_a_number() -> None:
    assert math.isnan(value_of(".nan"))


@pytest.mark.parametrize(("text", "number"), [("10", 10), ("-3", -3), ("1_000", 1000), ("0x10", 16), ("0b11", 3)])
def test_whole_numbers_stay_whole(text: str, number: int) -> None:
    value = value_of(text)
    assert isinstance(value, int)
    assert value == number


@pytest.mark.parametrize(
    "text",
    [
        "1e-4foo",
        "foo1e-4",
        "e5",
        "1e",
        "1e-",
        "e",
        ".",
        "+.",
        "1.2.3",
        "1e5e5",
        "inf",
        "nan",
        "v1e5",
        "'3e-4'",
        '"1e5"',
    ],
)
def test_words_stay_words(text: str) -> None:
    assert value_of(text) == text.strip("'\"")


@pytest.mark.parametrize(
    "text",
    [
        "2001-12-14",
        "2001-12-14 21:59:43",
        "12:30",
        "yes",
        "off",
        "null",
        "~",
        "[1, a]",
        "{a: 1}",
        "010",
        "1.2.3",
    ],
)
def test_what_is_no_float_is_what_pyyaml_makes_of_it(text: str) -> None:
    assert value_of(text) == yaml.safe_load(f"key: {text}")["key"]


@given(st.text("0123456789+-._eEx:abfin", max_size=9))
def test_only_text_that_python_reads_as_a_float_differs_from_pyyaml(text: str) -> None:
    try:
        reference = yaml.safe_load(f"key: {text}")
    except (yaml.YAMLError, ValueError):
        return
    if not isinstance(reference, dict):
        return
    value = value_of(text)
    if isinstance(reference["key"], str) and not isinstance(value, str):
        assert value == float(text.replace("_", ""))
    else:
        assert value == reference["key"] or (math.isnan(value) and math.isnan(reference["key"]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1\n", "study.yaml, line 3: invalid YAML: expected ',' or ']', but got"),
        ("a: 1\nb:\n\t- 2\n", "study.yaml, line 3: invalid YAML: found character '\\t'"),
        ("a: 1\nb: 2\na: 3\n", "study.yaml, line 3: invalid YAML: the key 'a' is given twice"),
        ("a:\n  b: 1\n  b: 2\n", "study.yaml, line 3: invalid YAML: the key 'b' is given twice"),
        ("a: 1\n---\nb: 1\n", "study.yaml, line 2: invalid YAML: but found another document"),
        (
            "a: 1\nb: 2001-13-01\n",
            "study.yaml, line 2: invalid YAML: '2001-13-01' cannot be read: month must be in",
        ),
        ("a: 1\nb: !!bool foo\n", "study.yaml, line 2: invalid YAML: 'foo' cannot be read"),
        ("a: 1\nb: !!timestamp foo\n", "study.yaml, line 2: invalid YAML: 'foo' cannot be read"),
        ("a: 1\nb: !!float ''\n", "study.yaml, line 2: invalid YAML: '' cannot be read"),
        ("a: 1\nb: !!int ''\n", "study.yaml, line 2: invalid YAML: '' cannot be read"),
        (
            "a: 1\nb: !!map [1]\n",
            "study.yaml, line 2: invalid YAML: expected a mapping node, but found sequence",
        ),
        (
            "a: !!python/object:os.system x\n",
            "study.yaml, line 1: invalid YAML: could not determine a constructor",
        ),
        ("a: \x07\n", "study.yaml: invalid YAML: unacceptable character #x0007"),
        ("a: &a {b: *a}\nc: " + "[" * 3000, "study.yaml: invalid YAML: maximum recursion depth"),
        ("", "study.yaml: expected 'key: value' lines at the top, found nothing"),
        ("- 1\n- 2\n", "study.yaml: expected 'key: value' lines at the top, found a list"),
        ("word", "study.yaml: expected 'key: value' lines at the top, found a str"),
        ("1: a\n", "study.yaml: keys must be words, got 1"),
        ("no: a\n", "study.yaml: keys must be words, got False"),
    ],
)
def test_invalid_yaml_names_the_file_the_line_and_the_fault(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(text)
    assert str(caught.value).startswith(message)


def test_a_number_and_a_word_are_two_keys() -> None:
    assert parse("a: {1: x, '1': y}") == {"a": {1: "x", "1": "y"}}


def test_merged_keys_may_be_overridden() -> None:
    text = "base: &base {x: 1, y: 2}\nown: {<<: *base, x: 3}\n"
    assert parse(text)["own"] == {"x": 3, "y": 2}


def test_a_merge_of_a_merge_is_not_a_duplicate() -> None:
    text = "c: {<<: &b {<<: &a {x: 1}, x: 2}}\nd: *b\n"
    assert parse(text) == {"c": {"x": 2}, "d": {"x": 2}}


@given(st.text(max_size=60) | st.text("ab:-[]{}&*!<>'\"|%@#? \n\t=,.0123e~", max_size=40))
def test_any_text_gives_a_mapping_of_words_or_an_error_of_ours(text: str) -> None:
    try:
        data = parse(text)
    except AutowarmError:
        return
    assert all(isinstance(key, str) for key in data)


@given(
    st.sampled_from(
        [
            "int",
            "float",
            "bool",
            "null",
            "timestamp",
            "binary",
            "map",
            "seq",
            "set",
            "omap",
            "pairs",
            "str",
            "merge",
            "value",
        ]
    ),
    st.text("0123456789abcxTZ:-+._=[]{} ", max_size=16),
)
def test_any_tag_on_any_text_gives_a_mapping_or_an_error_of_ours(tag: str, text: str) -> None:
    try:
        parse(f"key: !!{tag} {text}")
    except AutowarmError as e:
        assert str(e).startswith("study.yaml")  # noqa: PT017 - either outcome is fine


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.yaml: there is no such file"):
        read_yaml(tmp_path / "absent.yaml", SettingsError)


def test_a_folder_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: "):
        read_yaml(tmp_path, SettingsError)


def test_a_path_that_cannot_exist_is_an_error_of_ours() -> None:
    with pytest.raises(SettingsError, match="cannot be read: "):
        read_yaml(Path("a\0b"), SettingsError)


def test_a_file_that_is_no_text_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"\x80\x02\xff")
    with pytest.raises(SettingsError, match=r"model\.ckpt: cannot be read: "):
        read_yaml(tmp_path / "model.ckpt", SettingsError)


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "ä.yaml").write_text("lr: 3e-4\nname: größe\n", encoding="utf-8")
    assert read_yaml(tmp_path / "ä.yaml", SettingsError) == {"lr": 3e-4, "name": "größe"}


def _laughs(levels: int) -> str:
    lines = ["a0: &a0 [lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines)


def _merges(levels: int) -> str:
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}], k{i}: 1}}" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize("text", [_laughs(12), _merges(12), f"a: &a {'x' * 2000}\nb: [{', '.join(['*a'] * 600)}]"])
def test_aliases_that_stand_for_too_much_are_refused_before_they_are_followed(text: str) -> None:
    with pytest.raises(SettingsError, match=r"line \d+: .* with its aliases written out, this has more than"):
        parse(text)


def test_a_few_aliases_are_fine() -> None:
    assert parse(_laughs(3))["a2"][0][0] == ["lol", "lol"]
    assert parse("a: &a {k: 1}\nb: {<<: *a, l: *a}")["b"] == {"k": 1, "l": {"k": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [*a]", "an alias within what it stands for"),
        ("a: &a {b: *a}", "an alias within what it stands for"),
        ('a: "\\ud800"', "half a character"),
        (f"a: 0x{'f' * 5000}", "the number is too large"),
        (f"a: {'9' * 4000}", "the number is too large"),
        (f"a: {'[' * 50_000}", "invalid YAML"),
        (f"a: {'{b: ' * 50_000}", "invalid YAML"),
        ("- " * 50_000, "invalid YAML"),
        ("a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
        ("a: 1\0", "invalid YAML"),
    ],
)
def test_what_has_no_end_or_no_size_is_an_error_of_ours(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse(text)


def test_a_mark_at_the_beginning_and_breaks_of_windows_are_fine(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes("\ufefflr: 3e-4\r\nname: x\r\n".encode())
    assert read_yaml(tmp_path / "a.yaml", SettingsError) == {"lr": 3e-4, "name": "x"}


def test_keys_keep_their_order() -> None:
    assert to_yaml({"b": 1, "a": 2}) == "b: 1\na: 2\n"


@pytest.mark.parametrize("word", ["3e-4", "123e456", "1e5", "0x10", "yes", "2001-12-14", "null", "", "a: b", "12:30"])
def test_words_that_look_like_something_else_are_quoted(word: str) -> None:
    assert parse(to_yaml({"commit": word})) == {"commit": word}


# PyYAML itself writes a next-line character (U+0085) so that it reads it as another
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x85\u2028\u2029"))


@given(
    st.dictionaries(
        TEXT,
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
            max_leaves=5,
        ),
        max_size=3,
    )
)
def test_what_is_written_is_read_back(data: dict[str, Any]) -> None:
    assert parse(to_yaml(data)) == data
