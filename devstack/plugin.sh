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
# The devstack plugin of nova_accel: our driver instead of nova's, the
# scheduler's filter, made-up hosts, and tempest told of them. Checked for
# syntax by a test; not yet run by devstack.

# Save trace setting
_XTRACE_NOVA_ACCEL=$(set +o | grep xtrace)
set +o xtrace

# Names of the made-up hosts, one a line
function _nova_accel_synthetic {
    echo "$NOVA_ACCEL_SYNTHETIC" | tr ',' '\n' | grep ':' || true
}

function install_nova_accel {
    setup_develop "$NOVA_ACCEL_DIR"
    if [[ -n "$NOVA_ACCEL_SYNTHETIC" ]]; then
        # What nova's own test fixtures import
        pip_install -r "$NOVA_ACCEL_DIR/test-requirements.txt" \
            -r "$NOVA_ACCEL_DIR/tests/functional/requirements.txt"
    fi
}

function configure_nova_accel {
    # An editable nova, as devstack installs it, does not see files that we
    # put below nova/. So what devstack starts by nova-compute's name is the
    # program of ours that starts nova-compute.
    sudo ln -sf "$(command -v nova-accel-compute)" "$NOVA_BIN_DIR/nova-compute"
    iniset "$NOVA_CPU_CONF" DEFAULT compute_driver "$NOVA_ACCEL_DRIVER"
    iniset "$NOVA_CPU_CONF" accel config "$NOVA_ACCEL_CONFIG"
    iniset_multiline "$NOVA_CONF" filter_scheduler available_filters \
        nova.scheduler.filters.all_filters \
        nova_accel.scheduler.filters.AccelFilter
    local filters
    filters=$(iniget "$NOVA_CONF" filter_scheduler enabled_filters)
    iniset "$NOVA_CONF" filter_scheduler enabled_filters \
        "${filters:-ComputeFilter,ImagePropertiesFilter},AccelFilter"
    iniset "$NOVA_CONF" scheduler enable_isolated_aggregate_filtering True
    iniset "$PLACEMENT_CONF" placement max_allocation_candidates 1000
    iniset "$PLACEMENT_CONF" placement \
        allocation_candidates_generation_strategy breadth-first
    iniset "$PLACEMENT_CONF" placement allocation_conflict_retry_count 1
    if [[ ! -e "$NOVA_ACCEL_CONFIG" ]]; then
        printf 'version: 1\ndevices: {}\n' | \
            sudo tee "$NOVA_ACCEL_CONFIG" >/dev/null
    fi
}

# Usage: _nova_accel_host NAME FOLDER; writes its configuration there
function _nova_accel_host {
    local name=$1 folder=$2
    mkdir -p "$folder/providers"
    cp "$NOVA_CPU_CONF" "$folder/nova.conf"
    iniset "$folder/nova.conf" DEFAULT host "$name"
    iniset "$folder/nova.conf" DEFAULT state_path "$folder"
    iniset "$folder/nova.conf" DEFAULT instances_path "$DATA_DIR/nova/instances"
    iniset "$folder/nova.conf" compute provider_config_location \
        "$folder/providers"
    iniset "$folder/nova.conf" accel config "$folder/accel.yaml"
    cp "$NOVA_ACCEL_DIR/tests/cloud/rules/$name.yaml" "$folder/accel.yaml"
    cat >"$folder/providers/host.yaml" <<YAML
meta:
  schema_version: '1.0'
providers:
  - identification:
      uuid: \$COMPUTE_NODE
    traits:
      additional: [$NOVA_ACCEL_SYNTHETIC_TRAIT]
YAML
}

function start_nova_accel_hosts {
    local pair name node folder
    for pair in $(_nova_accel_synthetic); do
        name=${pair%%:*}
        node=${pair#*:}
        folder=$DATA_DIR/nova-accel/$name
        _nova_accel_host "$name" "$folder"
        run_process "n-cpu-$name" "$(which python3) -m \
            nova_accel.cli.synthetic $name $node \
            --config-file $folder/nova.conf"
    done
}

function isolate_nova_accel_hosts {
    local pair
    [[ -n "$NOVA_ACCEL_SYNTHETIC" ]] || return 0
    openstack aggregate create synthetic \
        --property "trait:$NOVA_ACCEL_SYNTHETIC_TRAIT=required"
    for pair in $(_nova_accel_synthetic); do
        wait_for_compute "$NOVA_READY_TIMEOUT"
        openstack aggregate add host synthetic "${pair%%:*}"
    done
}

function configure_tempest_for_nova_accel {
    iniset "$TEMPEST_CONFIG" service_available accel True
    if [[ -n "$NOVA_ACCEL_SYNTHETIC" ]]; then
        iniset "$TEMPEST_CONFIG" accel guest_reports True
        iniset "$TEMPEST_CONFIG" accel flavor_extra_specs \
            "trait:$NOVA_ACCEL_SYNTHETIC_TRAIT=required"
    else
        iniset "$TEMPEST_CONFIG" accel two_hosts False
    fi
}

function stop_nova_accel_hosts {
    local pair
    for pair in $(_nova_accel_synthetic); do
        stop_process "n-cpu-${pair%%:*}"
    done
}

if [[ "$1" == "stack" ]]; then
    case "$2" in
    install)
        echo_summary "Installing nova_accel"
        install_nova_accel
        ;;
    post-config)
        echo_summary "Configuring nova_accel"
        configure_nova_accel
        ;;
    extra)
        echo_summary "Starting the made-up hosts of nova_accel"
        start_nova_accel_hosts
        isolate_nova_accel_hosts
        ;;
    test-config)
        if is_service_enabled tempest; then
            configure_tempest_for_nova_accel
        fi
        ;;
    esac
elif [[ "$1" == "unstack" ]]; then
    stop_nova_accel_hosts
elif [[ "$1" == "clean" ]]; then
    sudo rm -rf "$DATA_DIR/nova-accel"
fi

# Restore xtrace
$_XTRACE_NOVA_ACCEL
