"""The documentation's site, without building it: pages, notebooks and names are all there."""

import ast
import importlib.util
import re
from pathlib import Path

import eqprop_spice as eq

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SITE = (ROOT / "mkdocs.yml").read_text()

HOOKS = importlib.util.spec_from_file_location("hooks", DOCS / "notebooks" / "hooks.py")
assert HOOKS is not None and HOOKS.loader is not None
hooks = importlib.util.module_from_spec(HOOKS)
HOOKS.loader.exec_module(hooks)


def named() -> list[str]:
    """Return the pages that the navigation names."""
    return re.findall(r"^ +- .*: ([\w/]+\.md)$", SITE, re.MULTILINE)


def test_the_navigation_names_every_page_once_and_no_other():
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    made = {f"notebooks/{path.stem}.md" for path in hooks.notebooks()}
    assert sorted(named()) == sorted(pages | made)
    assert len(made) == 4


def test_every_public_name_is_in_the_reference():
    text = "\n".join(path.read_text() for path in (DOCS / "api").glob("*.md"))
    listed = re.findall(r"^::: eqprop_spice\.(\S+)\.(\w+)$", text, re.MULTILINE)
    places = {name: place for place, name in listed}
    assert len(places) == len(listed)
    public = {name: getattr(eq, name) for name in eq.__all__ if name != "__version__"}
    assert public.keys() <= places.keys()
    for name, place in places.items():
        module = importlib.import_module(f"eqprop_spice.{place}")
        assert getattr(module, name) is public.get(name, getattr(module, name))


def test_notebooks_are_python_with_text_first():
    for path in hooks.notebooks():
        text = path.read_text()
        ast.parse(text)
        assert text.startswith("# %% [markdown]\n# # ")


def test_a_notebook_becomes_a_page_with_what_its_cells_show():
    page = hooks.executed("# %% [markdown]\n# # Title\n# %%\nx = 2\nprint(x)\nx + 1\n")
    assert page == (
        "# Title\n\n```python\nx = 2\nprint(x)\nx + 1\n```\n\n```text\n2\n```\n\n```text\n3\n```\n"
    )


def test_a_figure_becomes_a_picture():
    page = hooks.executed("# %%\nfrom matplotlib.figure import Figure\n\nFigure()\n")
    assert '<img alt="figure" src="data:image/png;base64,' in page


def test_links_out_of_the_documentation_become_text_and_examples_code():
    assert hooks.on_page_markdown("[a](../x.toml) [b](c.md)") == "a [b](c.md)"
    assert hooks.on_page_markdown("```console test\nls\n```") == "```console\nls\n```"
    assert hooks.on_page_markdown("```python test continued\n```") == "```python\n```"
