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
"""File systems that the machine reads often, as disks.

Over 9p every file that is opened costs several conversations with the host;
nova and Python's library are thousands of files.
"""

import hashlib
import pathlib

from tests.lab.harness import process
from tests.lab.harness import settings

_BLOCK = 4096
_PYTHON = '/usr/bin/python3'


def ensure(lab: settings.Settings) -> dict[str, pathlib.Path]:
    """Return folder -> an ext4 image of it, made anew if it has changed."""
    ask = 'import sys, sysconfig; print(sysconfig.get_path("stdlib"))'
    library = process.run(_PYTHON, '-S', '-c', ask).strip()
    version = process.run(_PYTHON, '-VV')
    installed = (lab.venv / 'complete').read_text()
    return {
        library: _image(lab, 'python', pathlib.Path(library), version),
        str(lab.venv): _image(lab, 'venv', lab.venv, installed),
    }


def empty(target: pathlib.Path, mib: int) -> pathlib.Path:
    """Make a file system with nothing in it."""
    process.run('mke2fs', '-q', '-F', '-t', 'ext4', str(target), f'{mib}M')
    return target


def _image(
    lab: settings.Settings, name: str, folder: pathlib.Path, content: str
) -> pathlib.Path:
    stamp = hashlib.sha256(f'{folder} {content}'.encode()).hexdigest()[:16]
    target = lab.state / 'images' / f'{name}-{stamp}.ext4'
    if target.exists():
        return target
    target.parent.mkdir(exist_ok=True)
    for old in target.parent.glob(f'{name}-*'):
        old.unlink()
    part = target.with_suffix('.part')
    process.run(
        *('mke2fs', '-q', '-F', '-t', 'ext4', '-m', '0'),
        *('-O', '^has_journal', '-d', str(folder), str(part)),
        f'{_mib(folder)}M',
    )
    part.rename(target)
    return target


def _mib(folder: pathlib.Path) -> int:
    """Of an image that holds a folder, with room for its inodes."""
    blocks = sum(
        -(-path.lstat().st_size // _BLOCK) for path in folder.rglob('*')
    )
    return 32 + (blocks * _BLOCK * 5 // 4 >> 20)
