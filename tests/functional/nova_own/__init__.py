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
"""Nova's own functional tests, unmodified, with our driver swapped in.

Without a whitelist our driver must behave as stock LibvirtDriver does.
``listing.yaml`` says which of them are run.
"""

import collections.abc
import contextlib
import dataclasses
import functools
import importlib
import os
import pathlib
import types
import typing as ty
import unittest

import yaml

STOCK = 'libvirt.LibvirtDriver'
# With STOCK these tests show what nova itself does with them here.
DRIVER = os.environ.get(
    'NOVA_ACCEL_NOVA_OWN_DRIVER', 'accel.LibvirtAccelDriver'
)
WHOLE = os.environ.get('NOVA_ACCEL_NOVA_OWN') == 'whole'

Tests = type[unittest.TestCase]
_Method = collections.abc.Callable[[unittest.TestCase], object]


@dataclasses.dataclass(frozen=True)
class Listing:
    """What ``listing.yaml`` says.

    :ivar modules: name below nova.tests.functional -> its core.
    :ivar failing: ``Class.test`` -> why stock nova fails it here, too.
    """

    modules: dict[str, list[str]]
    failing: dict[str, str]

    @classmethod
    def read(cls) -> 'Listing':
        path = pathlib.Path(__file__).with_name('listing.yaml')
        return cls(**yaml.safe_load(path.read_text()))


class OurDriver:
    """Put in front of a test class of nova's."""

    def flags(self, **options: ty.Any) -> None:
        """Set options as nova's method does, but for the driver."""
        if options.get('compute_driver') == STOCK:
            options['compute_driver'] = DRIVER
        super().flags(**options)  # type: ignore[misc]

    # A busy machine does not keep the five seconds that nova allows.

    def _wait_for_server_parameter(
        self,
        server: dict[str, ty.Any],
        expected_params: dict[str, ty.Any],
        max_retries: int = 120,
        **kwargs: ty.Any,
    ) -> dict[str, ty.Any]:
        return super()._wait_for_server_parameter(  # type: ignore[misc]
            server, expected_params, max(max_retries, 120), **kwargs
        )

    def _wait_for_migration_status(
        self, *args: ty.Any, **kwargs: ty.Any
    ) -> dict[str, ty.Any]:
        wait = super()._wait_for_migration_status  # type: ignore[misc]
        for _ in range(11):
            with contextlib.suppress(AssertionError):
                return wait(*args, **kwargs)
        return wait(*args, **kwargs)


def classes(name: str) -> dict[str, Tests]:
    """Return the test classes of a module of the listing, by name."""
    module = importlib.import_module(f'nova.tests.functional.{name}')
    return {
        found.__name__: found
        for found in vars(module).values()
        if _is_tests(found) and found.__module__ == module.__name__
    }


def _is_tests(found: object) -> bool:
    return (
        isinstance(found, type)
        and issubclass(found, unittest.TestCase)
        and bool(tests(found))
    )


def tests(of: Tests) -> list[str]:
    return list(unittest.TestLoader().getTestCaseNames(of))


def swapped(
    original: Tests,
    home: str,
    core: collections.abc.Collection[str],
    failing: collections.abc.Container[str] = (),
) -> Tests | None:
    """Return a test class of nova's with our driver, for a module ``home``.

    :param core: classes and tests; all others are left out.
    :param failing: tests that must fail.
    :returns: None: it has none of the core.
    """
    cls = original.__name__
    methods: dict[str, object] = {}
    for test in tests(original):
        if not {cls, f'{cls}.{test}'} & set(core):
            methods[test] = None
        elif f'{cls}.{test}' in failing:
            methods[test] = _failing(getattr(original, test))
    made = type(cls, (OurDriver, original), {'__module__': home, **methods})
    return made if tests(made) else None


def _failing(method: _Method) -> _Method:
    @functools.wraps(method)
    def run(self: unittest.TestCase) -> None:
        try:
            method(self)
        except Exception:
            return
        self.fail('It does not fail any more: take it off listing.yaml')

    return run


def fill(module: types.ModuleType, listing: Listing) -> None:
    """Put what is to be run into a module.

    :raises RuntimeError: two classes have one name.
    """
    for name, core in listing.modules.items():
        for cls, original in classes(name).items():
            wanted = [cls] if WHOLE else core
            found = swapped(original, module.__name__, wanted, listing.failing)
            if hasattr(module, cls):
                raise RuntimeError(f'{name}: there is another {cls}')
            if found is not None:
                setattr(module, cls, found)
