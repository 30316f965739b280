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
"""Small words for tables and messages."""

import collections.abc
import textwrap

from nova_accel.core import device

_CLASSES = {
    '0106': 'SATA',
    '0108': 'NVMe',
    '0200': 'Ethernet',
    '0207': 'InfiniBand',
    '0300': 'VGA',
    '0302': '3D',
    '0380': 'display',
    '0403': 'audio',
    '0600': 'host bridge',
    '0601': 'ISA bridge',
    '0604': 'PCI bridge',
    '0b40': 'co-processor',
    '0c03': 'USB',
    '1200': 'accelerator',
}


def printable(text: str) -> str:
    """Return text without the control characters that move a cursor."""
    if text.isprintable():
        return text
    return ''.join(
        char if char.isprintable() else ascii(char)[1:-1] for char in text
    )


def class_name(class_id: str) -> str:
    """Name a PCI class; its hexadecimal digits where it has no short name.

    >>> class_name('030200')
    '3D'
    """
    return _CLASSES.get(class_id[:4], class_id)


def count(number: int, singular: str, plural: str = '') -> str:
    """Write a number and its noun.

    >>> count(2, 'device')
    '2 devices'
    """
    noun = singular if number == 1 else plural or f'{singular}s'
    return f'{number} {noun}'


def product(dev: device.Device) -> str:
    """Name a device in few words: ``Tesla T4``, out of ``TU104GL [Tesla T4]``.

    Its ids where nothing names it.
    """
    name = dev.product_name
    return _inner(name) or name or f'{dev.vendor_id}:{dev.product_id}'


def short_name(dev: device.Device) -> str:
    """Name maker and product: ``NVIDIA Tesla T4``."""
    maker = _inner(dev.vendor_name) or dev.vendor_name.partition(' ')[0]
    name = product(dev)
    return name if name.startswith(maker) else f'{maker} {name}'


def _inner(name: str) -> str:
    return name.partition('[')[2].rpartition(']')[0]


def wrapped(words: str, indent: str) -> list[str]:
    """Break a text into lines that fit a terminal of 79 columns."""
    return textwrap.wrap(
        words,
        79,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


_LISTED = 4


def some(words: collections.abc.Sequence[str]) -> str:
    """List a few words and say how many more there are.

    >>> some(['a', 'b', 'c', 'd', 'e', 'f'])
    'a, b, c, d and 2 more'
    """
    more = len(words) - _LISTED
    listed = ', '.join(words[:_LISTED])
    return f'{listed} and {more} more' if more > 0 else listed
