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
"""File systems of the machine, as disks made from folders of the host.

Shares of the host would do, but every file that is opened costs several
conversations with the host, and a machine that has one mounted cannot be
saved and restored.
"""

import collections.abc
import hashlib
import os
import pathlib
import shutil
import stat

from tests.lab.harness import environment
from tests.lab.harness import kernel
from tests.lab.harness import process
from tests.lab.harness import settings

_BLOCK = 4096
_USR = pathlib.Path('/usr')
_PYTHON = '/usr/bin/python3'
_PATH = '/usr/sbin:/usr/bin'
# More than an environment needs; what is not used takes no room.
_VENV_MIB = 2048
# What the machine needs of the host's /usr, as far as it exists
_PARTS = (
    *('bin', 'sbin', 'libexec', 'lib64', 'lib/x86_64-linux-gnu'),
    *('lib/libvirt', 'lib/locale', 'lib/modprobe.d', 'lib/python3'),
    *('lib/qemu', 'lib/systemd', 'lib/udev'),
    *('share/hwdata', 'share/libvirt', 'share/mdevctl', 'share/misc'),
    *('share/qemu', 'share/seabios', 'share/zoneinfo'),
)
# Big files of these are left out unless a program of the machine loads them:
# a host may have gigabytes of compilers and desktops.
_SIFTED = ('bin', 'sbin', 'libexec', 'lib/x86_64-linux-gnu')
_BIG = 2 << 20
_PROGRAMS = (
    *('bash', 'busybox', 'ip', 'mdevctl', 'python3', 'qemu-img'),
    *('qemu-system-x86_64', 'ssh', 'udevadm', 'virsh', 'libvirtd', 'virtlogd'),
)
_MODULES = ('qemu/*.so', 'libvirt/*/*.so')
# Folders onto their places in the image, for mke2fs to follow; what is left
# out, read from standard input, is empty.
_STAGE = """\
set -e
mount -t tmpfs -o mode=755 stage "$1"
stage=$1 made=$2 size=$3; shift 3
for place; do
    mkdir -p "$stage/$place"
    [ ! -e "/usr/$place" ] || mount --bind "/usr/$place" "$stage/$place"
done
mkdir -p "$stage/$EMPTY"
touch "$stage/nothing"
while read -r file; do
    mount --bind "$stage/nothing" "$stage/$file"
done
exec mke2fs -q -F -t ext4 -m 0 -O ^has_journal -d "$stage" "$made" "$size"
"""


def ensure(
    lab: settings.Settings, linux: kernel.Kernel
) -> dict[str, pathlib.Path]:
    """Return folder -> image, in the order in which they are mounted.

    One whose folder has changed is made anew.
    """
    return {**of_debian(lab, linux), str(lab.venv): _of_environment(lab)}


def fill(lab: settings.Settings) -> None:
    """Write the environment into its image, unless that is done.

    A machine may have it already, and not mounted yet: so it is written in
    place.
    """
    target = _of_environment(lab)
    if is_filled(lab):
        return
    _make(lab.venv, target, _VENV_MIB)
    _filled(target).touch()


def is_filled(lab: settings.Settings) -> bool:
    return _filled(_of_environment(lab)).exists()


def _filled(target: pathlib.Path) -> pathlib.Path:
    return target.with_suffix('.filled')


def _of_environment(lab: settings.Settings) -> pathlib.Path:
    def make(target: pathlib.Path) -> None:
        target.touch()
        os.truncate(target, _VENV_MIB << 20)

    return _once(lab, 'venv', environment.fingerprint(), make)


def of_debian(
    lab: settings.Settings, linux: kernel.Kernel
) -> dict[str, pathlib.Path]:
    """Return those that can be made before there is an environment."""
    module = (linux.folder / 'module.sha256').read_text()
    modules = linux.modules
    return {
        **of_programs(lab),
        '/lib/modules': _copy(lab, 'modules', modules, linux.version + module),
    }


def of_programs(lab: settings.Settings) -> dict[str, pathlib.Path]:
    """Return those that can be made before there is a kernel."""
    ask = 'import sysconfig; print(sysconfig.get_path("stdlib"))'
    library = process.run(_PYTHON, '-S', '-c', ask).strip()
    version = process.run(_PYTHON, '-VV')
    return {
        '/usr': _usr(lab, library),
        library: _copy(lab, 'python', pathlib.Path(library), version),
    }


def empty(target: pathlib.Path, mib: int) -> pathlib.Path:
    """Make a file system with nothing in it."""
    process.run('mke2fs', '-q', '-F', '-t', 'ext4', str(target), f'{mib}M')
    return target


def _usr(lab: settings.Settings, library: str) -> pathlib.Path:
    packages = pathlib.Path('/var/lib/dpkg/status').read_bytes()
    content = hashlib.sha256(packages).hexdigest()
    content += ' '.join([*_PARTS, *_PROGRAMS])

    def make(target: pathlib.Path) -> None:
        stage = target.parent / 'stage'
        stage.mkdir(exist_ok=True)
        size = sum(_mib(_USR / part) for part in _PARTS)
        process.run(
            *('unshare', '-m', 'env', f'EMPTY={library[5:]}'),
            *('sh', '-c', _STAGE, 'sh'),
            *(str(stage), str(target), f'{size}M', *_PARTS),
            said=''.join(f'{path.relative_to(_USR)}\n' for path in _unused()),
        )

    return _once(lab, 'usr', content, make)


def _unused() -> list[pathlib.Path]:
    """Return the big files of /usr that no program of the machine loads."""
    programs = [shutil.which(name, path=_PATH) for name in _PROGRAMS]
    libraries = _USR / 'lib' / 'x86_64-linux-gnu'
    modules = (path for glob in _MODULES for path in libraries.glob(glob))
    roots = {*filter(None, programs), *map(str, modules)}
    # It fails for one that needs no library.
    printed = process.run('sh', '-c', 'ldd "$@" || :', 'sh', *sorted(roots))
    words = {word for word in printed.split() if word.startswith('/')}
    used = {os.path.realpath(word) for word in words | roots}
    return [
        path
        for part in _SIFTED
        for path in sorted((_USR / part).rglob('*'))
        if _is_big(path) and str(path) not in used
    ]


def _is_big(path: pathlib.Path) -> bool:
    about = path.lstat()
    return stat.S_ISREG(about.st_mode) and about.st_size > _BIG


def _copy(
    lab: settings.Settings, name: str, folder: pathlib.Path, content: str
) -> pathlib.Path:
    def make(target: pathlib.Path) -> None:
        _make(folder, target, _mib(folder))

    return _once(lab, name, f'{folder} {content}', make)


def _make(folder: pathlib.Path, target: pathlib.Path, mib: int) -> None:
    process.run(
        *('mke2fs', '-q', '-F', '-t', 'ext4', '-m', '0'),
        *('-O', '^has_journal', '-d', str(folder), str(target), f'{mib}M'),
    )


def _once(
    lab: settings.Settings,
    name: str,
    content: str,
    make: collections.abc.Callable[[pathlib.Path], None],
) -> pathlib.Path:
    stamp = hashlib.sha256(content.encode()).hexdigest()[:16]
    target = lab.state / 'images' / f'{name}-{stamp}.ext4'
    if target.exists():
        return target
    target.parent.mkdir(exist_ok=True)
    for old in target.parent.glob(f'{name}-*'):
        old.unlink()
    part = target.with_suffix('.part')
    make(part)
    part.rename(target)
    return target


def _mib(folder: pathlib.Path) -> int:
    """Of an image that holds a folder, with room for its inodes."""
    blocks = sum(
        -(-path.lstat().st_size // _BLOCK) for path in folder.rglob('*')
    )
    return 16 + (blocks * _BLOCK * 5 // 4 >> 20)
