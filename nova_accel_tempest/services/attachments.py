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
"""Client of the API of hot attach and detach."""

import typing as ty

from oslo_serialization import jsonutils
from tempest.lib.common import rest_client

_ROOT = '/v1/servers'


class AttachmentsClient(rest_client.RestClient):  # type: ignore[misc]
    """``/v1/servers/{id}/accelerators``"""

    def create_attachment(
        self,
        server: str,
        resource_class: str,
        amount: int = 1,
        **about: ty.Any,
    ) -> ty.Any:
        """Ask for units of a class; answered before they are there.

        :param about: ``id``, by which the same request may come again.
        """
        wanted = {
            'resource_class': resource_class,
            'amount': amount,
            **about,
        }
        body = jsonutils.dumps({'accelerator': wanted})
        resp, body = self.post(f'{_ROOT}/{server}/accelerators', body)
        self.expected_success(202, resp.status)
        return _content(resp, body)

    def list_attachments(self, server: str) -> ty.Any:
        resp, body = self.get(f'{_ROOT}/{server}/accelerators')
        self.expected_success(200, resp.status)
        return _content(resp, body)

    def show_attachment(self, server: str, attachment: str) -> ty.Any:
        resp, body = self.get(f'{_ROOT}/{server}/accelerators/{attachment}')
        self.expected_success(200, resp.status)
        return _content(resp, body)

    def delete_attachment(self, server: str, attachment: str) -> ty.Any:
        """Ask for its end; the guest has to agree."""
        resp, body = self.delete(f'{_ROOT}/{server}/accelerators/{attachment}')
        self.expected_success(202, resp.status)
        return rest_client.ResponseBody(resp, {})


def _content(resp: ty.Any, body: ty.Any) -> ty.Any:
    return rest_client.ResponseBody(resp, jsonutils.loads(body))
