"""Every kind of task that is built in keeps the contract of tasks."""

from archscout.core.space import Space
from archscout.core.task import Task
from archscout.spaces.lines import Lines
from archscout.spaces.mobile import Mobile
from archscout.spaces.rows import Rows
from archscout.spaces.series import Series
from archscout.spaces.tdnn import TDNN
from archscout.testing import (
    TaskConformance,
    tiny_audio,
    tiny_heads,
    tiny_lines,
    tiny_multilabel,
    tiny_ordinal,
    tiny_regression,
    tiny_rows,
    tiny_segmentation,
    tiny_series,
    tiny_speakers,
    tiny_task,
)


class TestImages(TaskConformance):
    def task(self) -> Task:
        return tiny_task()


class TestMultiLabel(TaskConformance):
    def task(self) -> Task:
        return tiny_multilabel()


class TestRegression(TaskConformance):
    def task(self) -> Task:
        return tiny_regression()


class TestOrdinal(TaskConformance):
    def task(self) -> Task:
        return tiny_ordinal()


class TestRows(TaskConformance):
    def task(self) -> Task:
        return tiny_rows()

    def space(self) -> Space:
        return Rows(width=16)


class TestSegmentation(TaskConformance):
    def task(self) -> Task:
        return tiny_segmentation()


class TestSeveralHeads(TaskConformance):
    def task(self) -> Task:
        return tiny_heads()


class TestAudio(TaskConformance):
    def task(self) -> Task:
        return tiny_audio()


class TestSeries(TaskConformance):
    def task(self) -> Task:
        return tiny_series()

    def space(self) -> Space:
        return Series(width=32)


class TestLines(TaskConformance):
    def task(self) -> Task:
        return tiny_lines()

    def space(self) -> Space:
        return Lines(width=32)


class TestLinesByNetworksForImages(TaskConformance):
    def task(self) -> Task:
        return tiny_lines()

    def space(self) -> Space:
        return Mobile(width=8, depth=1)


class TestSpeakers(TaskConformance):
    def task(self) -> Task:
        return tiny_speakers()

    def space(self) -> Space:
        return TDNN(width=32)


class TestSpeakersByNetworksForImages(TaskConformance):
    def task(self) -> Task:
        return tiny_speakers()
