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
"""Throw-away environments with every way of installing nova and us.

nova's dependencies are borrowed from the environment that the tests run in,
as links; nova and nova_accel themselves are not.
"""

import atexit
import functools
import importlib.metadata
import json
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

WHEEL = 'wheel'
EDITABLE = 'editable'
# How setuptools made editable installations before it had a finder: a path.
EDITABLE_PATH = 'editable by path'

_PROBE = pathlib.Path(__file__).with_name('probe.py')
_OURSELVES = ('nova', 'nova-', 'nova_accel', '__editable__', '__pycache__')


@functools.cache
def workshop() -> pathlib.Path:
    """Where this process builds things; gone when it ends."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix='nova-accel-install-'))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def run(*command: str | pathlib.Path, cwd: pathlib.Path | None = None) -> str:
    """Return what a command that must succeed prints."""
    done = attempt(*command, cwd=cwd)
    if done.returncode:
        raise AssertionError(f'{command}: {done.stdout}{done.stderr}')
    return done.stdout


def attempt(
    *command: str | pathlib.Path, cwd: pathlib.Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command outside of the source tree, which has a nova/ too."""
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd or workshop(),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def pip(*arguments: str | pathlib.Path) -> str:
    return run(sys.executable, '-m', 'pip', '-q', *arguments)


@functools.cache
def checkout() -> pathlib.Path:
    """Return a clone of what is committed, fit to be built in."""
    folder = workshop() / 'checkout'
    run('git', 'clone', '-q', ROOT, folder)
    return folder


@functools.cache
def our_wheel() -> pathlib.Path:
    return build_wheel(checkout())


def build_wheel(source: pathlib.Path) -> pathlib.Path:
    folder = pathlib.Path(tempfile.mkdtemp(dir=workshop()))
    pip('wheel', '--no-deps', '-w', folder, source)
    return next(folder.glob('*.whl'))


@functools.cache
def nova_wheel() -> pathlib.Path:
    return _download('--only-binary', 'nova')


@functools.cache
def nova_sdist() -> pathlib.Path:
    return _download('--no-binary', 'nova')


def _download(*options: str) -> pathlib.Path:
    folder = workshop() / options[0]
    release = f'nova=={importlib.metadata.version("nova")}'
    pip('download', '--no-deps', *options, '-d', folder, release)
    return next(folder.iterdir())


def unpack(sdist: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Return the folder that an sdist unpacks to."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder)
    return folder / sdist.name.removesuffix('.tar.gz')


@functools.cache
def dependencies() -> pathlib.Path:
    """Return a folder of everything that nova needs, without nova."""
    folder = workshop() / 'dependencies'
    folder.mkdir()
    for entry in pathlib.Path(sysconfig.get_path('purelib')).iterdir():
        if entry.name != 'nova' and not entry.name.startswith(_OURSELVES[1:]):
            (folder / entry.name).symlink_to(entry)
    return folder


class Environment:
    """One throw-away environment, with or without nova."""

    def __init__(self, nova: str | None) -> None:
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=workshop()))
        self.home = self.folder / 'env'
        venv.create(self.home, symlinks=True)
        self.python = self.home / 'bin' / 'python'
        self.site = pathlib.Path(
            run(
                self.python,
                '-c',
                'import sysconfig; print(sysconfig.get_path("purelib"))',
            ).strip()
        )
        (self.site / 'zz-dependencies.pth').write_text(str(dependencies()))
        if nova is not None:
            self._install_nova(nova)

    def _install_nova(self, way: str) -> None:
        if way == WHEEL:
            self.install(nova_wheel())
            return
        source = unpack(nova_sdist(), self.folder)
        self.install('-e', source, *_EDITABLE_OPTIONS[way])

    def install_ours(self, way: str) -> None:
        if way == WHEEL:
            self.install(our_wheel())
        else:
            self.install('-e', checkout())

    def install(self, *what: str | pathlib.Path) -> None:
        # A whole nova compiled for one import is a waste.
        options = '--no-deps', '--no-compile', '--no-build-isolation'
        pip('--python', self.python, 'install', *options, *what)

    def uninstall_ours(self) -> None:
        pip('--python', self.python, 'uninstall', '-y', 'nova-accel')

    def files(self) -> set[str]:
        """Every file but what Python compiles for itself."""
        return {
            str(path.relative_to(self.home))
            for path in self.home.rglob('*')
            if '__pycache__' not in path.parts and not path.is_dir()
        }

    def probe(self, way: str) -> dict[str, object]:
        """What ``probe.py`` sees in this environment."""
        done = self.attempt_probe(way)
        if done.returncode:
            raise AssertionError(done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    def attempt_probe(self, way: str) -> subprocess.CompletedProcess[str]:
        return attempt(self.python, '-P', _PROBE, way)

    def attempt(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of this environment's bin/."""
        return attempt(self.home / 'bin' / command[0], *command[1:])

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


_EDITABLE_OPTIONS = {
    EDITABLE: (),
    EDITABLE_PATH: ('--config-settings', 'editable_mode=compat'),
}
