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
"""One process of Placement; the fixture ``mariadb.Placement`` starts it.

It reads placement.conf in the folder OS_PLACEMENT_CONFIG_DIR, and writes its
port into the file PLACEMENT_PORT_FILE.
"""

import os
import pathlib

from placement.wsgi import api

from nova_accel.api import server


def main() -> None:
    served = server.serve(api.application, '127.0.0.1', 0)
    path = pathlib.Path(os.environ['PLACEMENT_PORT_FILE'])
    part = path.with_suffix('.part')
    part.write_text(str(served.server_port))
    part.rename(path)
    served.serve_forever()


if __name__ == '__main__':
    main()
