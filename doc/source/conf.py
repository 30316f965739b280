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
"""Sphinx builds the documentation with this."""

project = 'nova_accel'
copyright = 'nova_accel developers'

extensions = [
    'openstackdocstheme',
    'oslo_config.sphinxext',
    'reno.sphinxext',
]

html_theme = 'openstackdocs'
pygments_style = 'native'
root_doc = 'index'

# Outside opendev there is no repository or bug tracker to link to.
openstackdocs_auto_name = False
openstackdocs_auto_version = False
openstackdocs_bug_project = ''

# Short pages by hand: every reference that does not resolve is an error.
nitpicky = True
# The specifications are built where contributor/specs includes them.
exclude_patterns = []
