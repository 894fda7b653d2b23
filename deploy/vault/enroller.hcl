# Enroller: enrols TPM hosts and does nothing else. Its token lies on the hosts.
path "vouchsafe/enrolment-begin"    { capabilities = ["update"] }
path "vouchsafe/enrolment-complete" { capabilities = ["update"] }
