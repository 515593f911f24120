"""Every runnable block of the README and of the page on fits runs in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = "".join(
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/using_a_fit.md")
)
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", TEXT, re.DOTALL)


def test_readme_has_blocks_of_both_kinds():
    assert {language for language, _ in BLOCKS} == {"bash", "python"}


@pytest.mark.parametrize(("language", "code"), BLOCKS, ids=[code.split()[1] for _, code in BLOCKS])
def test_block_runs(language, code, tmp_path):
    command = ["bash", "-e"] if language == "bash" else [sys.executable, "-"]
    scripts = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": os.pathsep.join([scripts, os.environ["PATH"]])}
    result = subprocess.run(
        command, input=code, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout
