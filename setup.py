"""What setup.cfg cannot say. All else about the distribution stands there."""

import re
from pathlib import Path

from setuptools import setup
from setuptools.command.sdist import sdist

# PyPI shows the README without the files around it: links to them must be absolute.
FILES = "https://github.com/restauth/restauth-wsgi/blob/main/"


class SourceDistribution(sdist):
    """Setuptools adds tests/test_*.py alone; they need the rest of tests/, and read .ci/."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        own = [path for folder in (".ci", ".github", "tests") for path in Path(folder).rglob("*")]
        sources = {str(path) for path in own if path.is_file() and path.suffix != ".pyc"}
        super().make_release_tree(base_dir, sorted({*files, *sources}))


readme = Path("README.md").read_text(encoding="utf-8")
setup(
    cmdclass={"sdist": SourceDistribution},
    long_description=re.sub(r"\]\((?=\.github/|restauth/|tests/|LICENSE)", f"]({FILES}", readme),
    long_description_content_type="text/markdown",
)
