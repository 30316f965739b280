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
"""The machine's memory on disk: booted once, restored in seconds.

What it was booted from decides the name: another kernel, another package on
the host, another command line, and there is no such file yet.
"""

import collections.abc
import hashlib
import pathlib

from tests.lab.harness import errors
from tests.lab.harness import process
from tests.lab.harness import qmp
from tests.lab.harness import settings

_TIMEOUT = 120
# Bytes a second: as fast as it goes.
_BANDWIDTH = 1 << 34


class Snapshot:
    """What a machine with one command line would be restored from."""

    def __init__(
        self,
        lab: settings.Settings,
        command: collections.abc.Iterable[str],
        initrd: pathlib.Path,
    ) -> None:
        digest = hashlib.sha256(initrd.read_bytes())
        digest.update(process.run('qemu-system-x86_64', '--version').encode())
        digest.update('\0'.join(command).encode())
        self._folder = lab.state / 'snapshots'
        self.file = self._folder / f'{digest.hexdigest()[:16]}.memory'

    @property
    def arguments(self) -> list[str]:
        """What to start QEMU with, besides its command line."""
        return ['-incoming', f'exec:cat {self.file}']

    def resume(self, control: qmp.Qmp) -> None:
        """Wait until the memory is read, then let the machine run."""

        def is_read() -> bool:
            return bool(control.run('query-status')['status'] != 'inmigrate')

        process.wait_for('restored memory', is_read, _TIMEOUT)
        control.run('cont')

    def save(self, control: qmp.Qmp) -> None:
        """Write a running machine's memory, which then runs on.

        :raises LabError: some device of it cannot be saved.
        """
        self._folder.mkdir(exist_ok=True)
        for old in self._folder.iterdir():
            old.unlink()
        part = self.file.with_suffix('.part')
        control.run('migrate-set-parameters', **{'max-bandwidth': _BANDWIDTH})
        control.run('stop')
        try:
            control.run('migrate', uri=f'exec:cat > {part}')

            def is_written() -> bool:
                about = control.run('query-migrate')
                if about.get('status') == 'failed':
                    raise errors.LabError(f'QEMU: {about.get("error-desc")}')
                return bool(about.get('status') == 'completed')

            process.wait_for('saved memory', is_written, _TIMEOUT)
            part.rename(self.file)
        finally:
            control.run('cont')
