"""Hooks of the documentation's site: notebooks are executed, formulas become MathML.

A notebook is a Python file in the percent format, which Jupyter (with jupytext) and editors open:
`# %% [markdown]` begins text, `# %%` begins code. `python hooks.py FILE` executes one and prints it
as Markdown, with what its cells print and the value of their last line.
"""

import ast
import base64
import contextlib
import html
import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent

CELL = re.compile(r"^# %%", re.MULTILINE)

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\(?:\(|\[)(.*?)\\(?:\)|\])</\1>', re.DOTALL)


def notebooks() -> list[Path]:
    """Return the files of the notebooks."""
    return sorted(path for path in FOLDER.glob("*.py") if path.name != Path(__file__).name)


def on_files(files: Any, config: Any) -> Any:
    """Add a page for every notebook."""
    from mkdocs.structure.files import File

    for path in notebooks():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, str(path)]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{path.name} does not run:\n{done.stderr}")
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=done.stdout))
    return files


def on_page_markdown(markdown: str, **more: Any) -> str:
    """Show as text what pages link to outside of the documentation; examples are code."""
    # The tests run what is marked so; to Markdown a fence has one word.
    markdown = re.sub(
        r"^```(console|python) test( continued)?$", r"```\1", markdown, flags=re.MULTILINE
    )
    return re.sub(r"\[([^\]]*)\]\(\.\./(?!figures)[^)]*\)", r"\1", markdown)


def on_page_content(content: str, **more: Any) -> str:
    """Turn formulas into MathML, which browsers show without any script."""
    from latex2mathml.converter import convert

    def shown(match: re.Match[str]) -> str:
        display = "block" if match[1] == "div" else "inline"
        return convert(html.unescape(match[2]), display=display)

    return FORMULA.sub(shown, content)


def executed(text: str) -> str:
    """Return a notebook as Markdown, with what its code cells print and show."""
    names: dict[str, Any] = {"__name__": "__main__"}
    parts = []
    for cell in CELL.split(text)[1:]:
        first, _, body = cell.partition("\n")
        if "[markdown]" in first:
            parts.append(re.sub(r"^# ?", "", body, flags=re.MULTILINE).strip())
        else:
            parts += [f"```python\n{body.strip()}\n```", *_outputs(body, names)]
    return "\n\n".join(parts) + "\n"


def _outputs(code: str, names: dict[str, Any]) -> list[str]:
    """Execute a cell; return what it prints, and what its last line is."""
    tree = ast.parse(code)
    end = tree.body[-1] if tree.body else None
    last = ast.Expression(end.value) if isinstance(end, ast.Expr) else None
    if last is not None:
        tree.body.pop()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "notebook", "exec"), names)
        value = None if last is None else eval(compile(last, "notebook", "eval"), names)
    found = [f"```text\n{printed.getvalue().rstrip()}\n```"] if printed.getvalue() else []
    return found if value is None else [*found, _shown(value)]


def _shown(value: Any) -> str:
    if hasattr(value, "savefig"):
        buffer = io.BytesIO()
        value.savefig(buffer, format="png", dpi=110)
        return f'<img alt="figure" src="{_data(buffer.getvalue(), "png")}">'
    if hasattr(value, "_repr_html_"):
        return f"<div>{value._repr_html_()}</div>"
    if isinstance(value, bytes):
        return f'<img alt="drawing" src="{_data(value, "svg+xml")}">'
    return f"```text\n{value!r}\n```"


def _data(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


if __name__ == "__main__":
    sys.stdout.write(executed(Path(sys.argv[1]).read_text()))
