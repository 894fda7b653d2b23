# Operator of the auth method: its configuration and its roles. Whoever may write a role can give its tokens any of Vault's policies: as few people as may
# write those.
path "auth/vouchsafe/config"             { capabilities = ["read", "update"] }
path "auth/vouchsafe/role"               { capabilities = ["list"] }
path "auth/vouchsafe/role/*"             { capabilities = ["read", "list", "update", "delete"] }
path "auth/vouchsafe/key-rotate"         { capabilities = ["update"] }
path "auth/vouchsafe/enrolments"         { capabilities = ["list"] }
path "auth/vouchsafe/enrolments/*"       { capabilities = ["list", "delete"] }
path "auth/vouchsafe/enrolment-begin"    { capabilities = ["update"] }
path "auth/vouchsafe/enrolment-complete" { capabilities = ["update"] }
