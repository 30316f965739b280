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
"""Tell nova-compute that an operator has said something about its devices.

Served beside nova's own calls, on the topic of nova-compute.

1.0  refresh
1.1  attend, declare_clean
"""

import typing as ty

import nova.conf
from nova import context as nova_context
from nova import rpc as nova_rpc
import oslo_messaging as messaging

CONF = nova.conf.CONF
NAMESPACE = 'accel_device'
VERSION = '1.1'
TOPIC = 'compute'


class DevicesAPI:
    """Client of ``virt/device_endpoint.py``."""

    def __init__(self, timeout: int | None = None) -> None:
        self._timeout = timeout
        self._client = nova_rpc.get_client(
            messaging.Target(topic=TOPIC, namespace=NAMESPACE, version='1.0')
        )

    def refresh(
        self,
        context: nova_context.RequestContext,
        host: str,
        discover: bool = False,
    ) -> dict[str, list[str]]:
        """Have a host go by what Placement says now.

        :param discover: look at the hardware anew, first.
        :returns: id of each device that it offers -> its marks.
        :raises MessagingTimeout: nova-compute of the host does not answer.
        """
        client = self._client.prepare(
            server=host,
            timeout=self._timeout or CONF.rpc_response_timeout,
        )
        return ty.cast(
            dict[str, list[str]],
            client.call(context, 'refresh', discover=discover),
        )

    def attend(
        self,
        context: nova_context.RequestContext,
        host: str,
        device: str,
        again: bool = False,
    ) -> list[str]:
        """Have a host clean or prepare a device, if that is due.

        :param device: its stable id.
        :param again: also if it has failed before.
        :returns: why it failed; nothing: all is well.
        :raises MessagingTimeout: nova-compute of the host does not answer.
        """
        client = self._client.prepare(
            server=host,
            version='1.1',
            # A command may take its time, as long as the node gives signs.
            call_monitor_timeout=self._timeout or CONF.rpc_response_timeout,
            timeout=CONF.long_rpc_timeout * 4,
        )
        return ty.cast(
            list[str],
            client.call(context, 'attend', device=device, again=again),
        )

    def declare_clean(
        self, context: nova_context.RequestContext, host: str, device: str
    ) -> int:
        """Tell a host that a device is clean.

        :returns: how many of its units were not.
        :raises MessagingTimeout: nova-compute of the host does not answer.
        """
        client = self._client.prepare(
            server=host,
            version='1.1',
            timeout=self._timeout or CONF.rpc_response_timeout,
        )
        return ty.cast(
            int, client.call(context, 'declare_clean', device=device)
        )
