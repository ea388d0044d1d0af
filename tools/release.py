"""Makes a release of the template: a dated changelog, a commit and a tag. Nothing is pushed.

python tools/release.py 0.2.0
"""

import argparse
import datetime
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEADING = "## Unreleased\n"


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", help="as 0.2.0, above the last one")
    version = parser.parse_args(words).version
    try:
        release(version, datetime.date.today())
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"v{version} is tagged. Next: git push --follow-tags")
    return 0


def release(version: str, day: datetime.date) -> None:
    """Raises ValueError where there is nothing to release, or not as this version."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ValueError(f"{version!r} is no version: three numbers, as 0.2.0")
    if git("status", "--porcelain"):
        raise ValueError("there are changes that are not committed: commit them, or put them aside")
    last = max(releases(), key=numbers, default="0.0.0")
    if numbers(version) <= numbers(last):
        raise ValueError(f"{version} is not above {last}, the last release")
    file = ROOT / "CHANGELOG.md"
    before, heading, rest = file.read_text(encoding="utf-8").partition(HEADING)
    if not heading or not rest.partition("\n## ")[0].strip():
        raise ValueError(f"{file.name} has nothing under {HEADING.strip()!r}: say what has changed for its users")
    file.write_text(f"{before}{HEADING}\n## {version} ({day})\n{rest}", encoding="utf-8")
    git("commit", "--quiet", "--message", f"Release {version}", file.name)
    git("tag", "--annotate", f"v{version}", "--message", f"Release {version}")


def releases() -> list[str]:
    return [tag[1:] for tag in git("tag", "--list", "v*").split() if re.fullmatch(r"v\d+\.\d+\.\d+", tag)]


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"git {words[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
