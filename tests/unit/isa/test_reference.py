"""The manual is fresh, complete, and its example assembles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pimc_isa import reference
from pimc_isa.define import REGISTRY, fields_of
from pimc_isa.errors import AsmError
from pimc_isa.flow.microops import OPS
from pimc_isa.machine import ACTIONS
from pimc_isa.text import assemble
from pimc_isa.text.forms import PROGRAM, Form

README = Path(__file__).parents[3] / "isa" / "README.md"


def test_page_is_fresh(update_golden: bool) -> None:
    """Written by ``python -m pimc_isa.reference``."""
    if update_golden:
        README.write_text(reference.manual(), encoding="utf-8")
    assert README.read_text(encoding="utf-8") == reference.manual()


def test_page_names_everything_and_has_no_holes() -> None:
    page = reference.manual()
    assert "{{" not in page
    assert "``" not in page.replace("```", "")
    for cls in REGISTRY.values():
        assert f"| `{cls.mnemonic}` | 63:56 `{cls.opcode:#04x}`" in page
        for name, spec in fields_of(cls):
            assert f"* `{name}`: " in page
            assert spec.doc in page
    for name in (*OPS, *ACTIONS):
        assert f"`{name}" in page
    for form in _forms(PROGRAM):
        assert f"`.{form.directive} " in page


def _forms(form: Form) -> list[Form]:
    return [form, *(inner for child in form.children if child.form for inner in _forms(child.form))]


def test_instructions_have_documentation_of_their_own() -> None:
    for cls in REGISTRY.values():
        assert not (cls.__doc__ or "").startswith(f"{cls.__name__}(")
        if cls.unit != "control":
            assert (cls.cycles.__doc__ or "").strip()
        for _, spec in fields_of(cls):
            assert spec.doc.strip()


def test_example_assembles() -> None:
    golden = (README.parents[1] / "tests" / "golden" / "isa" / "every.pimasm").read_text(encoding="utf-8")
    head = golden[: golden.index("\n.tile ")].replace(".channel c0 0 -> 1 depth=2", ".channel c0 0 -> 17 depth=2")
    program = assemble(head + "\n" + reference.EXAMPLE)
    assert program.tiles[0].number == 17
    assert len(program.tiles[0].code) == 7
    with pytest.raises(AsmError):
        assemble(head + "\n" + reference.EXAMPLE.replace("mvm", "mmm"))


def test_main_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["reference", str(tmp_path / "page.md")])
    reference.main()
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == reference.manual()


def test_links_of_the_contents_lead_somewhere() -> None:
    page = reference.manual()
    heads = {line[3:].lower() for line in page.split("\n") if line.startswith("## ")}
    links = {part.split(")")[0] for part in page.split("](#")[1:]}
    assert links <= heads
    assert np.all([link.islower() for link in links])
