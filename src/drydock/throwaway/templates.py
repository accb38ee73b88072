"""Templates on the throwaway server: found by fingerprint, or built by a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from drydock import fingerprint, postgres, template
from drydock.errors import DrydockError
from drydock.settings import child_environment, load
from drydock.throwaway import identity

if TYPE_CHECKING:
    from drydock.environment import Environment


def ensure(environment: Environment, size: str) -> str:
    """The name of the template for the current migrations and, unless `size` is empty, seeds. Call it at the door.

    Raises:
        DrydockError: where it has to be built and a migration or a seed fails.
    """
    name = template.prefix(environment) + fingerprint.compute(environment, size)
    with postgres.administer(environment) as connection:
        if template.is_template(connection, name):
            template.touch(connection, name)
            return name
    return _built(environment, size)


def _built(environment: Environment, size: str) -> str:
    """Build it in another process: migrations import the project, which would remember the template's URL from then on.

    Modules that tests are yet to patch, settings that are read once: all of it would be in this process otherwise.
    """
    settings = environment.settings
    # What pytest has put on the path for the project is part of how its modules are found.
    paths = [path for path in sys.path if Path(path).is_relative_to(settings.root)]
    known = child_environment({}).get("PYTHONPATH", "")
    done = subprocess.run(
        [sys.executable, "-m", "drydock.throwaway.templates", str(settings.root), settings.engine, size],
        cwd=settings.root,
        env=child_environment({"PYTHONPATH": os.pathsep.join([*paths, *filter(None, [known])])}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise DrydockError(f"The template for tests could not be built: {last}.")
    said = json.loads(lines[-1])
    if "failure" in said:
        raise DrydockError(said["failure"], hint=said["hint"])
    return str(said["template"])


def build(root: Path, engine: str, size: str) -> dict[str, str]:
    """Build a template on the running server; `template`, or `failure` with a `hint`."""
    environment = identity.recorded(identity.settings_for(load(root), engine))
    if environment is None:
        return {"failure": "The server for tests is gone.", "hint": "Run the tests again."}
    try:
        with postgres.administer(environment) as connection:
            name, _ = template.ensure(environment, connection, size, report=lambda _: None)
    except DrydockError as error:
        return {"failure": error.message, "hint": error.hint}
    return {"template": name}


if __name__ == "__main__":
    # The last line: migrations and seeds may print as well.
    sys.stdout.write("\n" + json.dumps(build(Path(sys.argv[1]), sys.argv[2], sys.argv[3])) + "\n")
