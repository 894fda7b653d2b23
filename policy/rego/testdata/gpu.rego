package policy

import rego.v1

default hardware := 97

default configuration := 36

hardware := 2 if input.sampledevice.svn in data.reference.device_svn

configuration := 2 if {
	input.nvidia.secboot
	input.nvidia.dbgstat == "disabled"
	input.nvidia.x_nvidia_gpu_driver_version in data.reference.allowed_driver_versions
}

else := 3 if {
	input.nvidia.secboot
	input.nvidia.dbgstat == "disabled"
}

trust_claims := {"hardware": hardware, "configuration": configuration}
