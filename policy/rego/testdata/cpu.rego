package policy

import rego.v1

# An attestation policy in the shape of those that the reference server comes with: a default for each claim, rules by kind of evidence, and
# what identifies the workload as an extension, which is not asked for.

default executables := 33

default hardware := 97

default configuration := 36

trust_claims := {
	"executables": executables,
	"hardware": hardware,
	"configuration": configuration,
	"file-system": 0,
	"instance-identity": 0,
	"runtime-opaque": 0,
	"storage-opaque": 0,
	"sourced-data": 0,
}

executables := 3 if {
	input.snp
	input.snp.measurement in query_reference_value("snp_launch_measurement")
}

hardware := 2 if {
	input.snp
	input.snp.reported_tcb_bootloader in query_reference_value("snp_bootloader")
	input.snp.reported_tcb_snp >= query_reference_value("snp_minimum")
}

configuration := 2 if {
	input.snp
	input.snp.policy_debug_allowed == false
	input.snp.policy_abi_major == query_reference_value("snp_guest_abi_major")
}

else := 3 if {
	input.snp
	input.snp.policy_debug_allowed == false
}

executables := 3 if {
	input.tdx
	input.tdx.quote.body.rtmr_1 in query_reference_value("rtmr_1")
	kernel_is_known
}

kernel_is_known if {
	event := input.tdx.uefi_event_logs[_]
	event.type_name == "EV_EFI_BOOT_SERVICES_APPLICATION"
	"File(kernel)" in event.details.device_paths
	digest := event.digests[_]
	digest.digest == query_reference_value("tdvfkernel")
}

hardware := 2 if {
	input["az-snp-vtpm"]
	input["az-snp-vtpm"].tpm.pcr11 in query_reference_value("snp_pcr11")
}

hardware := 2 if {
	input.sample
	input.sample.svn in query_reference_value("svn")
}

extensions := [{"name": "identifiers", "key": -18, "value": {"validated": object.union_n([images_found, users_found])}}]

images := [image |
	container := input.init_data_claims.agent_policy_claims.containers[_]
	image := container.OCI.Annotations["io.kubernetes.cri.image-name"]
]

images_found := {"container_images": images} if {
	count(images) > 0
} else := {}

users := [user |
	container := input.init_data_claims.agent_policy_claims.containers[_]
	user := container.OCI.Process.User.UID
]

users_found := {"container_uids": users} if {
	count(users) > 0
} else := {}
