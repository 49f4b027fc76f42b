"""Files that earlier versions wrote are read, with the numbers that they had then."""

import numpy as np
import pytest

import plait
from plait.runtime.artifact.container import VERSION
from tests.runtime.artifact.golden.write import FOLDER, data, numbers

FILES = sorted(FOLDER.glob("*.plait"))


def test_there_is_a_file_of_this_format():
    assert FOLDER / f"format_{VERSION}.plait" in FILES


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_kept_file_says_what_it_said(path, float64):
    loaded = plait.load(path)
    wanted = np.load(path.with_suffix(".npz"))
    both = (("saved", loaded), ("bound", loaded.bind(y=data()["y"] + 1)))
    found = {f"{name}/{k}": v for name, model in both for k, v in numbers(model).items()}
    assert found.keys() == set(wanted)
    for name, value in found.items():
        np.testing.assert_allclose(value, wanted[name], rtol=1e-9, atol=1e-9, err_msg=name)
    few = {name: x[:5] for name, x in data().items()}
    assert np.isfinite(loaded.bind(**few).log_density(np.zeros(loaded.dim)))
