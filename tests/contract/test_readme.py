"""The README's Python runs, and prints what the README says."""

import contextlib
import io
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_ten_lines_print_what_the_readme_says(tmp_path, monkeypatch):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code, output = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", readme, re.DOTALL).groups()
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})

    # Processors without bfloat16 differ in the third digit.
    scores = [[float(x) for x in re.findall(r"\d+\.\d{4}", text)] for text in (printed.getvalue(), output)]
    assert re.sub(r"\d+\.\d{4}", "", printed.getvalue()) == re.sub(r"\d+\.\d{4}", "", output)
    assert all(abs(mine - said) < 0.02 for mine, said in zip(*scores, strict=True))


def test_every_relative_link_leads_somewhere():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
