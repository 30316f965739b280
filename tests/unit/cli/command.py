# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""Run ``nova-accel`` within a test."""

import contextlib
import dataclasses
import io
import json
import pathlib
import typing as ty

import fixtures

from nova_accel.cli import main
from nova_accel.cli import options


@dataclasses.dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, ty.Any]:
        """The one document on standard output."""
        found: dict[str, ty.Any] = json.loads(self.out)
        return found


class Command(fixtures.Fixture):
    """An empty working directory, and nothing installed in /etc."""

    def _setUp(self) -> None:
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        for name in ('CONFIG', 'CONFIG_DIR'):
            absent = str(self.folder / 'absent' / name)
            self.useFixture(
                fixtures.MonkeyPatch(f'{options.__name__}.{name}', absent)
            )

    def write(self, name: str, text: str) -> str:
        """Write a file and return its path."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return str(path)

    def run(self, *args: str) -> Done:
        """Run it with these arguments."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main.run(args)
        return Done(code, out.getvalue(), err.getvalue())
