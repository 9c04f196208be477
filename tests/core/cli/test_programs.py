import sys

import pytest

from core.cli.main import main


@pytest.mark.parametrize("program", ["training", "export"])
def test_a_program_reads_its_own_arguments(program, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([program, "--help"])
    assert stopped.value.code == 0
    assert f"usage: python -m {program}" in capsys.readouterr().out


def test_without_torch_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert main(["training", "evaluate"]) == 2
    assert "training needs torch, which is not installed; run `pip install 'leukoscope[training]'`" in (
        capsys.readouterr().err
    )
