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
"""Debian's kernel for the machine, and the labgpu module built for it."""

import hashlib
import pathlib
import re
import shutil

from tests.lab.harness import errors
from tests.lab.harness import packages
from tests.lab.harness import process
from tests.lab.harness import settings

_SOURCES = settings.LAB / 'labgpu'
# Without the drivers of what no lab has, half of all of them
_UNPACK = """\
dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --wildcards \\
    --exclude '*/kernel/sound' --exclude '*/kernel/drivers/gpu' \\
    --exclude '*/kernel/drivers/media' --exclude '*/kernel/drivers/iio' \\
    --exclude '*/kernel/drivers/infiniband' \\
    --exclude '*/kernel/drivers/net/wireless'
"""


class Kernel:
    """One unpacked kernel: image, modules and what builds modules for it."""

    def __init__(self, lab: settings.Settings, version: str) -> None:
        self.version = version
        self.folder = lab.state / 'kernel' / version
        self.root = self.folder / 'root'
        self._build = self.folder / 'build'

    @property
    def image(self) -> pathlib.Path:
        return self.root / 'boot' / f'vmlinuz-{self.version}'

    @property
    def modules(self) -> pathlib.Path:
        """The folder that serves as /lib/modules."""
        return self.root / 'lib' / 'modules'

    @property
    def headers(self) -> pathlib.Path:
        return self._build / 'usr' / 'src' / f'linux-headers-{self.version}'

    def fetch(self) -> None:
        """Download and unpack, unless that is done."""
        done = self.folder / 'unpacked'
        if done.exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        debs = self.folder / 'debs'
        debs.mkdir(parents=True)
        packages.apt('download', *self._packages(), cwd=debs)
        for deb in sorted(debs.glob('*.deb')):
            image = deb.name.startswith('linux-image')
            target = self.root if image else self._build
            target.mkdir(exist_ok=True)
            process.run('sh', '-c', _UNPACK, 'sh', str(deb), str(target))
        shutil.rmtree(debs)
        self._relocate()
        done.touch()

    def _packages(self) -> tuple[str, ...]:
        flavour = self.version.rpartition('-')[0]
        series = re.match(r'\d+\.\d+', self.version)
        assert series is not None
        return (
            f'linux-image-{self.version}',
            f'linux-headers-{self.version}',
            f'linux-headers-{flavour}-common',
            f'linux-kbuild-{series.group()}',
        )

    def _relocate(self) -> None:
        # The headers' Makefile names /usr/src, where we do not install.
        makefile = self.headers / 'Makefile'
        text = makefile.read_text()
        makefile.write_text(
            text.replace('/usr/src/', f'{self._build}/usr/src/')
        )
        scripts = self.headers / 'scripts'
        if scripts.is_symlink():
            target = (self.headers / scripts.readlink()).resolve()
            if not target.exists():
                kbuild = next((self._build / 'usr' / 'lib').glob('*kbuild*'))
                scripts.unlink()
                scripts.symlink_to(kbuild / 'scripts')

    def build_module(self) -> None:
        """Build labgpu.ko, unless the sources are the ones built last."""
        stamp = self.folder / 'module.sha256'
        wanted = _digest(_SOURCES)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        work = self.folder / 'labgpu'
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(_SOURCES, work)
        process.run(
            'make', '-s', '-C', str(self.headers), f'M={work}', 'modules'
        )
        extra = self.modules / self.version / 'extra'
        extra.mkdir(exist_ok=True)
        process.run('strip', '-g', str(work / 'labgpu.ko'))
        shutil.copy(work / 'labgpu.ko', extra)
        process.run('depmod', '-b', str(self.root), self.version)
        stamp.write_text(wanted)

    def with_dependencies(self, *names: str) -> list[pathlib.Path]:
        """Files of modules in the order in which they must be loaded."""
        files: dict[pathlib.Path, None] = {}
        for name in names:
            printed = process.run(
                *('modprobe', '-d', str(self.root), '-S', self.version),
                *('--show-depends', name),
            )
            for line in printed.splitlines():
                if line.startswith('insmod '):
                    files[pathlib.Path(line.split()[1])] = None
        return list(files)


def newest_version() -> str:
    """Of the kernel that Debian's metapackage asks for."""
    printed = _depends()
    if printed is None:
        packages.apt('update')
        printed = _depends()
    if printed is None:
        raise errors.LabError(
            'apt knows no linux-image-amd64: is this Debian 12?'
        )
    return printed


def _depends() -> str | None:
    try:
        text = process.run('apt-cache', 'depends', 'linux-image-amd64')
    except errors.LabError:
        return None
    found = re.search(r'Depends: linux-image-(\d\S*)', text)
    return found.group(1) if found else None


def fetched(lab: settings.Settings) -> Kernel:
    """Return the kernel as Debian ships it."""
    known = lab.state / 'kernel' / 'version'
    if not known.exists():
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(newest_version())
    kernel = Kernel(lab, known.read_text())
    kernel.fetch()
    return kernel


def ensure(lab: settings.Settings) -> Kernel:
    """Return the kernel, ready to boot, with our module."""
    kernel = fetched(lab)
    kernel.build_module()
    return kernel


def _digest(folder: pathlib.Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.is_file():
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()
