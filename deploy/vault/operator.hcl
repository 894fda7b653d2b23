# Operator: says which evidence is believed, enrols hosts, rotates keys. Whoever may write config may believe in other roots: few people.
path "vouchsafe/config"             { capabilities = ["read", "update"] }
path "vouchsafe/keys"               { capabilities = ["list"] }
path "vouchsafe/keys/"              { capabilities = ["list"] }
path "vouchsafe/key-rotate"         { capabilities = ["update"] }
path "vouchsafe/enrolments"         { capabilities = ["list"] }
path "vouchsafe/enrolments/*"       { capabilities = ["list", "delete"] }
path "vouchsafe/enrolment-begin"    { capabilities = ["update"] }
path "vouchsafe/enrolment-complete" { capabilities = ["update"] }
