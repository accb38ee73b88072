"""The floor of `invoke up` as a plain script: start, wait for TCP `SELECT 1`, `alembic upgrade head`, seed.

Nothing of drydock is imported. Its one argument is a JSON object:
    run: commands that start the server, or make it startable; each runs to its end.
    leave: a command that stays, the server itself; optional.
    url: where it will answer, as a libpq URL.
    size: of the seeds.
"""

import json
import os
import subprocess
import sys
import time

import psycopg

from app.seeds import seed

POLL = 0.02  # seconds

job = json.loads(sys.argv[1])
for command in job["run"]:
    subprocess.run(command, check=True, capture_output=True)
if "leave" in job:
    subprocess.Popen(job["leave"], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
while True:
    try:
        with psycopg.connect(job["url"]) as connection:
            connection.execute("SELECT 1")
        break
    except psycopg.OperationalError:
        time.sleep(POLL)
migrate = [sys.executable, "-m", "alembic", "upgrade", "head"]
subprocess.run(migrate, check=True, capture_output=True, env={**os.environ, "DATABASE_URL": job["url"]})
with psycopg.connect(job["url"]) as connection:
    seed(connection, size=job["size"])
