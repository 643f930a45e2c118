"""The Makefile and the shell scripts run on a Mac: make 3.81, bash 3.2, and BSD's programs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: What macOS has not: a pattern, a line that has it, and what works everywhere.
BASH_4 = [
    (r"\b(declare|local|typeset)\s+-\w*[AnlungG]", "declare -A seen", "two arrays, or a case"),
    (r"\b(mapfile|readarray)\b", "mapfile -t lines < file", "while read"),
    (r"\$\{\w+(\[[^]]*\])?(,,?|\^\^?)", 'echo "${name,,}"', "tr '[:upper:]' '[:lower:]'"),
    (r"\$\{\w+@[A-Za-z]\}", "${name@Q}", "printf %q"),
    (r"\$\{\w+\[-\d+\]\}", "${words[-1]}", "${words[${#words[@]}-1]}"),
    (r"\|&|&>>", "make |& tee log", "2>&1 |"),
    (r"\bcoproc\b", "coproc cat", "a named pipe"),
    (r"\bwait\s+-n\b", "wait -n", "wait PID"),
    (r"\bshopt\s+-s\s+\w*(globstar|lastpipe)", "shopt -s globstar", "find"),
    (r"\[\[\s+-v\b", "[[ -v name ]]", '[ -n "${name+x}" ]'),
    (r";;&|;&", "a) ;;&", "an if"),
    (r"\$EPOCH(SECONDS|REALTIME)|\$BASHPID", "$EPOCHSECONDS", "date +%s"),
]
GNU_PROGRAMS = [
    (
        r"(^|[\s;|&(])(timeout|nproc|tac|setsid|flock|taskset|numactl|ionice|lscpu|free|shuf)\s",
        "timeout 5 make",
        "Python",
    ),
    (r"\b(md5sum|sha\d+sum)\b", "sha256sum file", "shasum -a 256"),
    (r"\bsed\s+(-[a-z]*\s+)*-[a-z]*i(\s|$)", "sed -i s/a/b/ file", "a temporary file"),
    (r"\bsed\s+(-[a-z]+\s+)*(-[a-z]*r\b|--)", "sed -r 's/(a)/b/'", "sed -E"),
    (r"\bsed\s.*\\[+?swSWb]", r"sed 's/a\+/b/'", "sed -E, and [[:space:]]"),
    (r"\bgrep\s+(-[a-zA-Z]+\s+)*-[a-zA-Z]*P", "grep -oP 'a' file", "grep -E"),
    (r"\bgrep\s.*\\[sdwS+]", r"grep '\d' file", "grep -E, and [[:digit:]]"),
    (r"\bdate\s+(-[a-z]\s+)*(-d|--|-I|\+\S*%N)", "date -d yesterday", "Python"),
    (r"\bstat\s+(-c|--)", "stat -c %a file", "Python"),
    (r"\breadlink\s+-f\b|\brealpath\s+--", "readlink -f file", 'cd "$(dirname …)" && pwd'),
    (r"\bmktemp\s.*(--|-p\b|--suffix)", "mktemp --directory", "mktemp -d"),
    (
        r"\b(cp|mv|ln|rm|mkdir|ls|du|df|tail|head|sort|cut|wc|tr|touch|tee)\s+(\S+\s+)*--[a-z]",
        "ls --color",
        "short options",
    ),
    (r"\bcp\s+-\w*[utT]\b|\bln\s+-\w*r\b|\binstall\s+-\w*D", "cp -u a b", "plain cp and ln"),
    (r"\bhead\s+(-n\s*|-c\s*)-\d", "head -n -1", "sed '$d'"),
    (r"\bxargs\s+(-\S+\s+)*(-d|--)", "xargs -d ,", "tr, and xargs"),
    (r"\bfind\s+(-|\S+.*-(printf|regextype|readable|executable)\b)", "find . -printf %p", "find PATH … -exec"),
    (r"\bdu\s+-\w*b", "du -sb .", "du -sk"),
    (r"\bbase64\s+-w", "base64 -w 0", "base64 | tr -d '\\n'"),
    (r"\becho\s+-[neE]+\b", "echo -e 'a'", "printf"),
    (r"/proc/|/sys/|/dev/shm", "cat /proc/cpuinfo", "Python"),
]
MAKE_4 = [
    (r"\$\(file\s", "$(file > out,text)", "a recipe"),
    (r"^\.ONESHELL|^\.RECIPEPREFIX|^undefine\b", ".ONESHELL:", "one line with \\"),
    (r"^[\w.-]+\s*(::=|:::=|!=)", "NOW != date", "$(shell …)"),
    (r"^[^\t#]*[^&\s]\s*&:", "a b &: c", "a file that stands for both"),
    (r"--output-sync|\$\(guile\s|\$\(let\s", "make --output-sync", "nothing"),
]


def scripts() -> list[Path]:
    """The Makefile, and everything that a shell runs."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    names = (
        listed.stdout.split()
        if listed.returncode == 0
        else [str(path.relative_to(ROOT)) for path in ROOT.glob(".ci/*")]
    )
    found = [ROOT / name for name in ("Makefile", *names) if Path(name).suffix in ("", ".sh")]
    shells = [path for path in found if path.is_file() and re.match(rb"#!.*\b(bash|sh)\b", path.read_bytes())]
    return [ROOT / "Makefile", *shells]


def code(path: Path) -> list[tuple[int, str]]:
    """The lines without comments, with their numbers."""
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    return [(number, re.sub(r"(^|\s)#.*", "", line)) for number, line in lines]


@pytest.mark.parametrize(("pattern", "example", "instead"), [*BASH_4, *GNU_PROGRAMS, *MAKE_4])
def test_no_script_needs_what_macos_has_not(pattern: str, example: str, instead: str) -> None:
    assert re.search(pattern, example), "the table's own line must be found"
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in scripts()
        for number, line in code(path)
        if re.search(pattern, line)
    ]
    assert not found, f"instead: {instead}"


def test_the_scripts_are_found() -> None:
    assert {path.name for path in scripts()} >= {"Makefile", "run"}


def test_a_mac_is_asked_for_before_anything_is_installed(tmp_path: Path) -> None:
    """Elsewhere `make mac` ends with one message."""
    uname = tmp_path / "uname"
    uname.write_text("#!/bin/sh\necho Linux x86_64\n")
    uname.chmod(0o755)
    done = subprocess.run(
        ["make", "mac", f"VENV={tmp_path / 'venv'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )
    assert done.returncode != 0
    assert done.stdout == ""
    assert "--pretend" in done.stderr.splitlines()[0]
    assert not (tmp_path / "venv").exists()


def test_an_old_python_is_named(tmp_path: Path) -> None:
    """macOS's own python3 is 3.9."""
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\nshift\nexec python3 -c "import sys; sys.version_info = (3, 9); $1"\n')
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "install", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode != 0
    assert "3.11" in done.stderr.splitlines()[0]
    assert "3.9" in done.stderr.splitlines()[0]
    assert not (tmp_path / "venv").exists()
