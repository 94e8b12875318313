"""Prints what the three distributions ask for, themselves left out: the image installs it before their source."""

import re
import tomllib
from pathlib import Path

FOLDERS = ("models", "client", "server")
EXTRAS = ("fast", "ort")
"""What an image is for: the server at full speed."""

projects = [tomllib.loads(Path(folder, "pyproject.toml").read_text())["project"] for folder in FOLDERS]
siblings = {project["name"] for project in projects}
lists = [project["dependencies"] for project in projects]
lists += [project.get("optional-dependencies", {}).get(extra, []) for project in projects for extra in EXTRAS]
needs = {need for needs in lists for need in needs}
print(*sorted(need for need in needs if re.split(r"[^\w.-]", need)[0] not in siblings), sep="\n")
