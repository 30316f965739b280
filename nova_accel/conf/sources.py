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
"""Finding and reading the files that make up the whitelist."""

import dataclasses
import os
import stat

from nova_accel.conf import composer
from nova_accel.core import document
from nova_accel.core import whitelist
from nova_accel import exception

SUFFIX = '.yaml'
MAX_BYTES = 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Paths:
    """Where to look.

    :ivar config: the main file; '' for none.
    :ivar further: files that are read right after it.
    :ivar config_dir: every ``*.yaml`` of this directory is read too, sorted
        by name; '' for none.
    :ivar optional: those of the two that may be missing, because nobody
        named them: the defaults.
    """

    config: str = ''
    config_dir: str = ''
    optional: frozenset[str] = frozenset()
    further: tuple[str, ...] = ()

    @property
    def named(self) -> tuple[str, ...]:
        """The files that are read, but for those of the directory."""
        main = () if self.is_absent(self.config) else (self.config,)
        return main + self.further

    def is_absent(self, path: str) -> bool:
        """Whether this one is missing and nobody minds."""
        return not path or (
            path in self.optional and not os.path.lexists(path)
        )


def load(paths: Paths) -> whitelist.Whitelist:
    """Read and parse all files; no file at all is an empty whitelist.

    :raises InvalidWhitelist: with every problem of every file.
    """
    problems: list[exception.Problem] = []
    documents: list[document.Node] = []
    try:
        names = find(paths)
    except exception.InvalidWhitelist as error:
        problems.extend(error.problems)
        names = paths.named
    for name in names:
        try:
            documents.append(composer.compose(name, _read(name)))
        except exception.InvalidWhitelist as error:
            problems.extend(error.problems)
    try:
        found = whitelist.parse(documents)
    except exception.InvalidWhitelist as error:
        problems.extend(error.problems)
    if problems:
        raise exception.InvalidWhitelist(problems)
    return found


def find(paths: Paths) -> tuple[str, ...]:
    """Return the files that ``load`` reads, in that order.

    :raises InvalidWhitelist: the directory cannot be listed.
    """
    if paths.is_absent(paths.config_dir):
        return paths.named
    try:
        names = sorted(os.listdir(paths.config_dir))
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise _unusable(
            paths.config_dir,
            f'config_dir cannot be listed: {reason}; create the directory or '
            f'correct the option',
        ) from error
    more = (
        os.path.join(paths.config_dir, name)
        for name in names
        if name.endswith(SUFFIX) and not name.startswith('.')
    )
    # The main file may lie in the directory: it is not read twice.
    seen = {os.path.realpath(name) for name in paths.named}
    return paths.named + tuple(
        name for name in more if os.path.realpath(name) not in seen
    )


def _unusable(path: str, text: str) -> exception.InvalidWhitelist:
    return exception.InvalidWhitelist(
        [exception.Problem(path, None, '', text)]
    )


def _read(path: str) -> bytes:
    try:
        return _read_regular(path)
    except FileNotFoundError as error:
        raise _unusable(
            path, 'no such file; create it or correct its name'
        ) from error
    except PermissionError as error:
        raise _unusable(
            path, 'permission denied; let the user of nova-compute read it'
        ) from error
    except (OSError, ValueError) as error:
        raise _unusable(path, f'cannot be read: {error}') from error


def _read_regular(path: str) -> bytes:
    # Opening a FIFO would hang and opening a device may do anything.
    _check(path, os.stat(path))
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(handle, 'rb') as stream:
        _check(path, os.fstat(handle))
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise _unusable(
            path,
            f'is larger than {MAX_BYTES // 1024} KiB, which no whitelist '
            f'needs; is it the right file?',
        )
    return data


def _check(path: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise _unusable(path, 'is a directory; name it in config_dir instead')
    if not stat.S_ISREG(status.st_mode):
        raise _unusable(
            path, 'is not a regular file but a device, pipe or socket'
        )
