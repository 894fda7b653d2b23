# Custodian: writes secrets. No path returns a value, so whoever has this cannot read one.
path "vouchsafe/secrets/*"          { capabilities = ["read", "list", "update"] }
path "vouchsafe/secret-generate/*"  { capabilities = ["update"] }
path "vouchsafe/secret-activate/*"  { capabilities = ["update"] }
path "vouchsafe/secret-destroy/*"   { capabilities = ["update"] }
path "vouchsafe/leases"             { capabilities = ["list"] }
path "vouchsafe/leases/"            { capabilities = ["list"] }
path "vouchsafe/lease-revoke/*"      { capabilities = ["update"] }
