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
"""The GPU cards that ship: ``cards.yaml``, each with its source."""

import dataclasses
import functools
import pathlib
import re

from nova_accel.testing.xapi_simulator import schema

FILE = pathlib.Path(__file__).with_name('cards.yaml')

IMPLEMENTATIONS = ('nvidia', 'nvidia_sriov', 'gvt_g', 'mxgpu')


@dataclasses.dataclass(frozen=True)
class VgpuType:
    """A vGPU type of a card.

    :ivar framebuffer: MiB.
    :ivar resolution: of one head, 1920x1200.
    :ivar per_gpu: how many fit on one GPU.
    """

    model: str
    framebuffer: int
    per_gpu: int
    heads: int
    resolution: str


@dataclasses.dataclass(frozen=True)
class Card:
    """A board.

    :ivar source: where the figures are from.
    :ivar gpus: how many a board has.
    :ivar passthrough: a whole GPU may be given to a VM.
    :ivar suspend: the host's driver can suspend its vGPUs.
    :ivar several: a VM may have several of its vGPUs.
    """

    name: str
    source: str
    vendor_id: str
    device_id: str
    vendor: str
    device: str
    types: tuple[VgpuType, ...]
    implementation: str
    gpus: int
    passthrough: bool
    suspend: bool
    several: bool
    class_id: str


_ID = re.compile('[0-9a-f]{4}', re.ASCII)
_RESOLUTION = re.compile('[0-9]{2,5}x[0-9]{2,5}', re.ASCII)


def _match(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(text)
    return text


hex_id = schema.parsed(
    functools.partial(_match, _ID), 'id of four hexadecimal digits'
)
_resolution = schema.parsed(
    functools.partial(_match, _RESOLUTION), 'resolution like 1920x1200'
)

_TYPE = {
    'model': schema.Key(schema.text),
    'framebuffer': schema.Key(schema.whole(1, 2**20)),
    'per_gpu': schema.Key(schema.whole(1, 1024)),
    'heads': schema.Key(schema.whole(1, 16), 4),
    'resolution': schema.Key(_resolution, '5120x2880'),
}
KEYS = {
    'source': schema.Key(schema.text),
    'vendor_id': schema.Key(hex_id),
    'device_id': schema.Key(hex_id),
    'vendor': schema.Key(schema.text),
    'device': schema.Key(schema.text),
    'class_id': schema.Key(hex_id, '0300'),
    'implementation': schema.Key(schema.word(*IMPLEMENTATIONS), 'nvidia'),
    'gpus': schema.Key(schema.whole(1, 16), 1),
    'passthrough': schema.Key(schema.flag, True),
    'suspend': schema.Key(schema.flag, False),
    'several': schema.Key(schema.flag, False),
    'types': schema.Key(
        schema.items(schema.mapping(_TYPE, VgpuType)),
        (),
    ),
}

read = schema.named(KEYS, Card)


@functools.cache
def shipped() -> dict[str, Card]:
    """Return the cards that ship, by name."""
    found: dict[str, Card] = schema.load(FILE, read)
    return found
