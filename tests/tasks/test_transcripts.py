"""Transcripts against definitions that are written out: recursion, and all ways to read a line."""

import itertools
from functools import cache

import numpy as np
import pytest
import torch

from archscout.core.errors import DataError
from archscout.tasks.contents import Raw
from archscout.tasks.transcripts import EditErrors, WholeLines, edit_distances, greedy, places, read


def raw(texts: list[str]) -> Raw:
    return Raw(np.zeros((len(texts), 4, 4, 1), np.uint8), np.asarray(texts), "x", "y")


def distance(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    @cache
    def of(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(of(i - 1, j) + 1, of(i, j - 1) + 1, of(i - 1, j - 1) + (one[i - 1] != other[j - 1]))

    return of(len(one), len(other))


def test_edit_distances_are_those_of_the_recursion() -> None:
    rng = np.random.default_rng(0)
    pairs = [[tuple(rng.integers(0, 3, rng.integers(0, 9)).tolist()) for _ in range(2)] for _ in range(200)]
    found = edit_distances([one for one, _ in pairs], [other for _, other in pairs])
    assert found.tolist() == [distance(one, other) for one, other in pairs]


def test_greedy_reading_takes_runs_once_and_leaves_blanks_out() -> None:
    for path in itertools.product(range(3), repeat=5):
        outputs = torch.nn.functional.one_hot(torch.tensor(path), 3).T[None].float()
        expected = [symbol for symbol, _ in itertools.groupby(path) if symbol != 2]
        assert greedy(outputs) == [expected]


def test_places_are_the_fewest_that_can_say_a_transcript() -> None:
    """The shortest path over symbols and the blank that reads as the transcript."""

    def fewest(row: tuple[int, ...]) -> int:
        for length in range(1, 8):
            for path in itertools.product(range(3), repeat=length):
                if [symbol for symbol, _ in itertools.groupby(path) if symbol != 2] == list(row):
                    return length
        raise AssertionError

    for row in itertools.product(range(2), repeat=3):
        assert places(np.asarray([row])) == fewest(row)


def test_transcripts_become_numbers_in_composed_characters() -> None:
    y, characters = read({"train": raw(["ab", "b \t a"]), "test": raw(["e\u0301"])}, None, "it")
    assert characters == [" ", "a", "b", "é"]
    assert y["train"].tolist() == [[1, 2, -1], [2, 0, 1]]
    assert y["test"].tolist() == [[3, -1, -1]]


@pytest.mark.parametrize(
    ("texts", "names", "message"),
    [
        (["a", " "], None, "y has no transcript in row 1"),
        (["a\u200b"], None, r"has the character U\+200B, which cannot be printed"),
        (["abc"], ["a", "b"], "have 'c', which class_names lacks"),
    ],
)
def test_what_is_no_transcript_is_named(texts: list[str], names: list[str] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read({"train": raw(texts)}, names, "it")
    with pytest.raises(DataError, match="the transcript of each line is a text"):
        read({"train": Raw(np.zeros((2, 4, 4, 1)), np.asarray([1, 2]), "x", "y")}, None, "it")


def said(*lines: str, characters: str = "ab ") -> torch.Tensor:
    """Outputs that say these lines: each character, then a blank."""
    outputs = torch.zeros(len(lines), len(characters) + 1, 16)
    outputs[:, -1] = 0.5
    for line, output in zip(lines, outputs, strict=True):
        for place, character in enumerate(line):
            output[characters.index(character), 2 * place] = 1
    return outputs


def targets(*lines: str, characters: str = "ab ") -> torch.Tensor:
    y = torch.full((len(lines), 8), -1)
    for row, line in zip(y, lines, strict=True):
        row[: len(line)] = torch.tensor([characters.index(character) for character in line])
    return y


def test_errors_are_edits_over_the_length_of_all_lines() -> None:
    characters, words, whole = EditErrors(), EditErrors(2, words=True), WholeLines()
    for true, read_ in ((("ab ab", "a"), ("ab aa", "a")), (("b b b",), ("b b",))):
        for meter in (characters, words, whole):
            meter.update(said(*read_), targets(*true))
    assert characters.value() == pytest.approx(3 / 11)
    assert words.value() == pytest.approx(2 / 6)
    assert whole.value() == pytest.approx(1 / 3)
