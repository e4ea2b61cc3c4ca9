"""Of the space of a trained network, what is no larger than one of its architectures: where a cut goes on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Option
from archscout.networks.cutting import Cut
from archscout.spaces.trained import TrainedSpace


class Narrowed(TrainedSpace):
    """The options from one architecture on downwards; the order of units is that of the whole space.

    Args:
        space: of the whole network.
        around: what is cut already: the widest architecture here.
    """

    def __init__(self, space: TrainedSpace, around: Architecture) -> None:
        self.__dict__.update(space.__dict__)
        self.whole, self.around = space, around
        self.name = f"part of {space.name}"

    @property
    def choices(self) -> Sequence[Choice]:
        left = [
            Choice(choice.name, choice.options[choice.index(self.around[choice.name]) :], ordinal=choice.ordinal)
            for choice in self.whole.choices
        ]
        return [choice for choice in left if len(choice.options) > 1]

    def in_whole(self, architecture: Mapping[str, Option]) -> Architecture:
        """An architecture as the whole space has it."""
        return self.whole.architecture({**self.around, **architecture})

    def cut_of(self, architecture: Mapping[str, Option]) -> Cut:
        return self.whole.cut_of({**self.around, **architecture})

    def simplify(self, architecture: Architecture) -> Architecture:
        """What lies in a block that is left out counts as it was."""
        simple = self.whole.simplify(self.in_whole(architecture))
        return self.architecture({
            choice.name: simple[choice.name] if simple[choice.name] in choice.options else choice.options[0]
            for choice in self.choices
        })  # fmt: skip
