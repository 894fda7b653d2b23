# Auditor: reads everything that is no secret, and changes nothing.
path "vouchsafe/config"         { capabilities = ["read"] }
path "vouchsafe/policies"       { capabilities = ["list"] }
path "vouchsafe/policies/*"     { capabilities = ["read", "list"] }
path "vouchsafe/references"     { capabilities = ["list"] }
path "vouchsafe/references/*"   { capabilities = ["read", "list"] }
path "vouchsafe/secrets/*"      { capabilities = ["read", "list"] }
path "vouchsafe/leases"         { capabilities = ["list"] }
path "vouchsafe/leases/"        { capabilities = ["list"] }
path "vouchsafe/decisions"      { capabilities = ["list"] }
path "vouchsafe/decisions/"     { capabilities = ["list"] }
path "vouchsafe/explain/*"      { capabilities = ["read"] }
path "vouchsafe/log/*"          { capabilities = ["read"] }
path "vouchsafe/keys"           { capabilities = ["list"] }
path "vouchsafe/keys/"          { capabilities = ["list"] }
path "vouchsafe/enrolments"     { capabilities = ["list"] }
path "vouchsafe/enrolments/"    { capabilities = ["list"] }
