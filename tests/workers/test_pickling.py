import pickle
import traceback
from pathlib import Path

import cloudpickle
import pytest
import torch
from torch import nn

from archscout.workers.pickling import dumps

SCRIPT = """def outer(value):
    def inner():
        return 1 / value
    return inner()


class Score:
    def of(self, value):
        return [1 / each for each in [value]][0]
"""


def functions(file: Path | str) -> dict:
    """The names of a script that cannot be imported, as those of a user's own script or notebook."""
    names: dict = {"__name__": "a_script_of_mine"}
    exec(compile(SCRIPT, str(file), "exec"), names)
    return names


def raised(function) -> str:
    with pytest.raises(ZeroDivisionError) as caught:
        function(0)
    return "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("newest", [False, True])
def test_code_arrives_with_its_file_and_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, newest: bool) -> None:
    file = tmp_path / "mine.py"
    file.write_text(SCRIPT, encoding="utf-8")
    names = functions(file)
    if newest:  # what cloudpickle 3.1.2 and later do, whichever is installed
        usual = cloudpickle.Pickler.dispatch_table[type(names["outer"].__code__)]

        def nameless(code):
            make, arguments = usual(code)
            return make, tuple("<dynamic-code>" if each == str(file) else each for each in arguments)

        monkeypatch.setitem(cloudpickle.Pickler.dispatch_table, type(names["outer"].__code__), nameless)
    nested = raised(pickle.loads(dumps(names["outer"])))
    assert f'File "{file}", line 4, in outer' in nested
    assert f'File "{file}", line 3, in inner' in nested
    assert "return 1 / value" in nested
    method = raised(pickle.loads(dumps(names["Score"]))().of)
    assert f'File "{file}", line 9' in method


def test_a_relative_file_is_named_from_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(SCRIPT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    sent = dumps(functions("mine.py")["outer"])
    monkeypatch.chdir("/")
    assert f'File "{tmp_path / "mine.py"}", line 3' in raised(pickle.loads(sent))


def test_what_is_no_file_keeps_its_name() -> None:
    assert 'File "<cell 3>", line 3' in raised(pickle.loads(dumps(functions("<cell 3>")["outer"])))


def test_parametrized_modules_are_sent() -> None:
    network = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Conv1d(1, 2, 3)),
        nn.utils.parametrizations.weight_norm(nn.GRU(6, 3), "weight_hh_l0"),
    )
    there = pickle.loads(pickle.loads(pickle.dumps(dumps(network))))
    x = torch.rand(4, 1, 8)
    torch.testing.assert_close(there[0](x), network[0](x))
    torch.testing.assert_close(there[1](network[0](x))[0], network[1](network[0](x))[0])
    assert there.state_dict().keys() == network.state_dict().keys()
    there[0].parametrizations.weight.original0.data.mul_(2)
    torch.testing.assert_close(there[0].weight, 2 * network[0].weight, msg="the weight is computed there, too")
