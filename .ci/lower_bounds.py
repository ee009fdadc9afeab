"""Print the lowest version of each dependency that setup.cfg promises, as pip reads them.

Rule: setup.cfg is the only list of versions. A dependency without a lower bound is an error. The
extras `counterparts` (exact versions) and `lint` (tools) promise nothing to a user.
"""

import re
import sys
from configparser import ConfigParser
from pathlib import Path

config = ConfigParser()
config.read_string((Path(__file__).parent.parent / "setup.cfg").read_text(encoding="utf-8"))
extras = config["options.extras_require"]
lists = [extras[name] for name in extras if name not in ("counterparts", "lint")]
requirements = "\n".join([config["options"]["install_requires"], *lists]).split("\n")
for requirement in filter(None, requirements):
    bound = re.fullmatch(r"([A-Za-z0-9_.\[\]-]+)>=([0-9.]+)", requirement)
    if bound is None:
        raise SystemExit(f"setup.cfg: {requirement} has no lower bound")
    sys.stdout.write(f"{bound[1]}=={bound[2]}\n")
