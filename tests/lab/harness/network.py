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
"""Stands where Neutron stands: there is nothing, and nothing can be made.

Servers of the lab have no network. Nova still asks for the ports of a
server that it deletes.
"""

import http.server
import json
import sys


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        what = self.path.partition('?')[0].rpartition('/')[2]
        key = what.removesuffix('.json').replace('-', '_')
        body = json.dumps({key: []}).encode()
        self.send_response(200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == '__main__':
    port = int(sys.argv[1])
    http.server.ThreadingHTTPServer(
        ('127.0.0.1', port), _Handler
    ).serve_forever()
