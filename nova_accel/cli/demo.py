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
"""The main job, told as a story: from one YAML file to servers with GPUs.

Real nova-api, scheduler, conductor, two nova-compute with our driver and
real Placement run in this one process; the real libvirt library reads the
devices of both hosts from node files. Every step is checked.
"""

import argparse
import collections.abc
import contextlib
import io
import logging
import os
import sys
import time
import typing as ty
import unittest

ABOUT = (
    'Real: nova-api, nova-scheduler, nova-conductor, two nova-compute with '
    'accel.LibvirtAccelDriver, Placement, and libvirt reading devices.',
    'In the second act: the same with accel.XenAPIAccelDriver, on a simulator '
    'of XAPI built from its published data model, not on a Xen host.',
    "Simulated: the guests (nova's own fake of QEMU domains), the creation "
    "of mediated devices, Keystone, Glance and Neutron (nova's fixtures).",
)


def tell(file: ty.TextIO) -> bool:
    """Tell the story.

    :returns: True when every step held.
    """
    # As nova-compute runs by default; nova reads it when it is imported.
    os.environ.setdefault('OS_NOVA_DISABLE_EVENTLET_PATCHING', '1')
    from nova_accel.cli import story as chapters
    from nova_accel.cli import story_xapi

    story = chapters.Story(file)
    for words in ABOUT:
        story.screen.line(words)
    result = unittest.TestResult()
    with _quiet():
        for act in (chapters.Demo, story_xapi.Demo):
            act.story = story
            act('runTest').run(result)
    for _test, trace in [*result.errors, *result.failures]:
        story.screen.line(trace)
    return result.wasSuccessful() and result.testsRun == 2


@contextlib.contextmanager
def _quiet() -> collections.abc.Iterator[None]:
    """Keep the services' logs off the terminal: the story is the output."""
    logging.disable(logging.WARNING)
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def main(argv: collections.abc.Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog='nova-accel-demo', description=__doc__
    )
    parser.parse_args(argv)
    began = time.monotonic()
    held = tell(sys.stdout)
    seconds = time.monotonic() - began
    print()
    print(
        f'Every step held, in {seconds:.0f} s.'
        if held
        else 'A step did not hold; see above.'
    )
    return 0 if held else 1


if __name__ == '__main__':
    sys.exit(main())
